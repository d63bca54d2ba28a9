//! Ranked lists of several spaces become one.

use std::collections::HashMap;
use std::hash::Hash;

/// The constant of [`fuse`]: the one of the paper, which found that it hardly matters.
pub const RECIPROCAL_RANK_CONSTANT: f64 = 60.0;

/// A document and what it got from all lists.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Fused<Id> {
    /// The document.
    pub id: Id,
    /// The sum over the lists of `1 / (60 + rank)`, ranks from 1. Only its order means anything.
    pub score: f64,
}

/// Fuses ranked lists, the best document first in each, by reciprocal rank (Cormack, Clarke and Büttcher, SIGIR 2009).
///
/// Scores of two spaces can't be compared, so only the ranks count. A document that is in several lists gets the sum,
/// so under [`Coverage::Reachable`](embed_core::Coverage) one that both models rank high comes first. Of a document that is
/// in a list twice, the better place counts. Documents with one score stand in the order in which they are met, list by
/// list: the result is the same every time.
///
/// ```
/// use embed_router::fuse;
///
/// // The same query, asked in the two spaces.
/// let by_minilm = ["fuji", "everest", "andes"];
/// let by_e5 = ["富士山", "fuji"];
/// let best: Vec<_> = fuse([by_minilm.to_vec(), by_e5.to_vec()]).into_iter().map(|found| found.id).collect();
/// assert_eq!(best, ["fuji", "富士山", "everest", "andes"]);
/// ```
pub fn fuse<Id: Eq + Hash + Clone>(
    lists: impl IntoIterator<Item = impl IntoIterator<Item = Id>>,
) -> Vec<Fused<Id>> {
    let mut fused = Vec::<Fused<Id>>::new();
    // Where a document stands in `fused`, and which list added to it last.
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
