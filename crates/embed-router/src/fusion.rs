//! Merges ranked lists of several spaces.

use std::collections::HashMap;
use std::hash::Hash;

/// The constant of [`fuse`], from the paper, which found that its value hardly matters.
pub const RECIPROCAL_RANK_CONSTANT: f64 = 60.0;

/// A document and its score from all lists.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Fused<Id> {
    /// The document.
    pub id: Id,
    /// The sum of `1 / (60 + rank)` over the lists, with ranks from 1. Only the order of scores is meaningful.
    pub score: f64,
}

/// Merges ranked lists, each with the best document first, by reciprocal rank (Cormack, Clarke and Büttcher, SIGIR 2009).
///
/// Scores of different spaces can't be compared, so only the ranks count. A document in several lists gets the sum, so
/// with [`Coverage::Reachable`](embed_core::Coverage) one that both models rank high comes first. If a document is in a
/// list twice, the better rank counts. Documents with equal scores are ordered by their first occurrence, list by list,
/// so the result is deterministic.
///
/// ```
/// use embed_router::fuse;
///
/// // The same query, searched in the two spaces.
/// let by_minilm = ["fuji", "everest", "andes"];
/// let by_e5 = ["富士山", "fuji"];
/// let best: Vec<_> = fuse([by_minilm.to_vec(), by_e5.to_vec()]).into_iter().map(|found| found.id).collect();
/// assert_eq!(best, ["fuji", "富士山", "everest", "andes"]);
/// ```
pub fn fuse<Id: Eq + Hash + Clone>(
    lists: impl IntoIterator<Item = impl IntoIterator<Item = Id>>,
) -> Vec<Fused<Id>> {
    let mut fused = Vec::<Fused<Id>>::new();
    // The index of a document in `fused`, and the last list that added to it.
    let mut met = HashMap::<Id, (usize, usize)>::new();
    for (number, list) in lists.into_iter().enumerate() {
        for (rank, id) in (1_u32..).zip(list) {
            let score = 1.0 / (RECIPROCAL_RANK_CONSTANT + f64::from(rank));
            match met.get_mut(&id) {
                Some((_, last)) if *last == number => {}
                Some((at, last)) => {
                    fused[*at].score += score;
                    *last = number;
                }
                None => {
                    met.insert(id.clone(), (fused.len(), number));
                    fused.push(Fused { id, score });
                }
            }
        }
    }
    // The sort is stable.
    fused.sort_by(|a, b| b.score.total_cmp(&a.score));
    fused
}
