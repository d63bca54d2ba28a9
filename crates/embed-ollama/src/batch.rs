//! Pure parts of batching: equal texts once, pieces by bytes and rows, rows checked, results by index.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use embed_core::vector;

use crate::failure::RowFault;
use crate::wire::Rows;

/// The different texts of a request.
#[derive(Debug)]
pub(crate) struct Distinct {
    /// In the order in which they come first.
    pub(crate) texts: Vec<Arc<str>>,
    /// For each text of the request the place of its equal in `texts`.
    pub(crate) places: Vec<usize>,
}

impl Distinct {
    pub(crate) fn of(texts: &[Arc<str>]) -> Self {
        let mut known = HashMap::with_capacity(texts.len());
        let mut distinct =
            Self { texts: Vec::with_capacity(texts.len()), places: Vec::with_capacity(texts.len()) };
        for text in texts {
            let place = *known.entry(&**text).or_insert_with(|| {
                distinct.texts.push(Arc::clone(text));
                distinct.texts.len() - 1
            });
            distinct.places.push(place);
        }
        distinct
    }
}

/// Cuts texts of these sizes into pieces of at most so many bytes and rows. A text that is larger than a
/// piece has one of its own.
pub(crate) fn pieces(sizes: &[usize], max_bytes: usize, max_rows: usize) -> Vec<Range<usize>> {
    let mut pieces = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (at, size) in sizes.iter().enumerate() {
        let full = at - start == max_rows || (at > start && bytes + size > max_bytes);
        if full {
            pieces.push(start..at);
            (start, bytes) = (at, 0);
        }
        bytes += size;
    }
    if start < sizes.len() {
        pieces.push(start..sizes.len());
    }
    pieces
}

/// The rows of an answer: a vector each, or why it is none.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) rows: Vec<Result<Vec<f32>, RowFault>>,
    /// Tokens of the whole answer, as the server counts them.
    pub(crate) tokens: Option<usize>,
    /// Rows that are equal to a row before them.
    pub(crate) shared: usize,
}

/// How far a norm may be from 1: a server's vectors are normalised, and sums of floats are not exact.
const NORM_TOLERANCE: f64 = 1e-2;

/// Checks the rows of an answer to so many different texts. Vectors of the legacy route are raw and
/// normalised here.
///
/// # Errors
///
/// A fault of the whole answer, where no row can be trusted to be its text's.
pub(crate) fn check_rows(
    rows: Rows,
    texts: usize,
    dimension: Option<usize>,
    raw: bool,
    tokens: Option<usize>,
) -> Result<Reply, RowFault> {
    if rows.len() == 0 && texts > 0 {
        return Err(RowFault::None);
    }
    if rows.len() != texts {
        return Err(RowFault::Count);
    }
    let width = dimension.unwrap_or_else(|| (0..texts).map(|row| rows.row(row).len()).max().unwrap_or(0));
    let mut seen: HashMap<u64, usize> = HashMap::with_capacity(texts);
    let mut shared = 0;
    let checked = (0..texts)
        .map(|index| {
            let row = rows.row(index);
            check_row(row, width, raw)?;
            let mut row_vector = row.to_vec();
            if raw {
                vector::normalise(&mut row_vector);
            }
            match seen.entry(bits(row)) {
                std::collections::hash_map::Entry::Occupied(first) if rows.row(*first.get()) == row => {
                    shared += 1
                }
                std::collections::hash_map::Entry::Occupied(_) => {}
                std::collections::hash_map::Entry::Vacant(place) => {
                    place.insert(index);
                }
            }
            Ok(row_vector)
        })
        .collect();
    Ok(Reply { rows: checked, tokens, shared })
}

fn check_row(row: &[f32], width: usize, raw: bool) -> Result<(), RowFault> {
    if row.is_empty() {
        return Err(RowFault::Null);
    }
    if row.len() != width {
        return Err(RowFault::Width);
    }
    if row.iter().any(|value| !value.is_finite()) {
        return Err(RowFault::NotFinite);
    }
    let norm = vector::norm(row);
    if norm == 0.0 {
        return Err(RowFault::Zero);
    }
    if !raw && (norm - 1.0).abs() > NORM_TOLERANCE {
        return Err(RowFault::Norm);
    }
    Ok(())
}

/// A cheap fingerprint of a row; equality is checked after it.
fn bits(row: &[f32]) -> u64 {
    row.iter().fold(0xcbf2_9ce4_8422_2325, |hash, value| {
        (hash ^ u64::from(value.to_bits())).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rows(json: &str) -> Rows {
        serde_json::from_str(json).unwrap()
    }

    fn faults(json: &str, texts: usize) -> Vec<Option<RowFault>> {
        let reply = check_rows(rows(json), texts, Some(2), false, None).unwrap();
        reply.rows.into_iter().map(Result::err).collect()
    }

    #[test]
    fn each_bad_row_is_told_apart() {
        assert_eq!(
            faults("[[1,0],null,[],[1],[null,1],[0,0],[3,4],[0.6,0.8]]", 8),
            [
                None,
                Some(RowFault::Null),
                Some(RowFault::Null),
                Some(RowFault::Width),
                Some(RowFault::NotFinite),
                Some(RowFault::Zero),
                Some(RowFault::Norm),
                None
            ]
        );
    }

    #[test]
    fn a_wrong_count_spoils_all() {
        let check = |json, texts| check_rows(rows(json), texts, Some(2), false, None).unwrap_err();
        assert_eq!(check("[[1,0]]", 2), RowFault::Count);
        assert_eq!(check("[[1,0],[0,1]]", 1), RowFault::Count);
        assert_eq!(check("[]", 1), RowFault::None);
    }

    #[test]
    fn equal_rows_of_different_texts_are_counted() {
        let reply = check_rows(rows("[[1,0],[0,1],[1,0],[1,0]]"), 4, None, false, None).unwrap();
        assert_eq!(reply.shared, 2);
    }

    #[test]
    fn raw_rows_are_normalised() {
        for raw in ["[[3,4]]", "[[3e-20,4e-20]]", "[[1.5e38,2e38]]"] {
            let reply = check_rows(rows(raw), 1, None, true, None).unwrap();
            assert_eq!(reply.rows[0].as_deref(), Ok([0.6, 0.8].as_slice()), "{raw}");
        }
    }

    proptest! {
        #[test]
        fn every_text_has_its_equal(texts in prop::collection::vec("[ab]{0,2}", 0..40)) {
            let texts: Vec<Arc<str>> = texts.iter().map(|text| Arc::from(text.as_str())).collect();
            let distinct = Distinct::of(&texts);
            prop_assert_eq!(distinct.places.len(), texts.len());
            for (text, place) in texts.iter().zip(&distinct.places) {
                prop_assert_eq!(text, &distinct.texts[*place]);
            }
            let mut sorted = distinct.texts.clone();
            sorted.sort();
            sorted.dedup();
            prop_assert_eq!(sorted.len(), distinct.texts.len());
        }

        #[test]
        fn pieces_are_all_texts_in_order_and_none_is_too_large(
            sizes in prop::collection::vec(0_usize..50, 0..200),
            max_bytes in 1_usize..100,
            max_rows in 1_usize..20,
        ) {
            let pieces = pieces(&sizes, max_bytes, max_rows);
            let mut next = 0;
            for piece in &pieces {
                prop_assert_eq!(piece.start, next);
                prop_assert!(piece.len() <= max_rows && !piece.is_empty());
                let bytes: usize = sizes[piece.clone()].iter().sum();
                prop_assert!(bytes <= max_bytes || piece.len() == 1);
                next = piece.end;
            }
            prop_assert_eq!(next, sizes.len());
        }
    }
}
