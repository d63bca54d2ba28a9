//! Pure parts of batching: equal texts once, pieces by bytes and rows.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

/// The different texts of a request.
#[derive(Debug)]
pub struct Distinct {
    /// In the order in which they come first.
    pub texts: Vec<Arc<str>>,
    /// For each text of the request the place of its equal in `texts`.
    pub places: Vec<usize>,
}

impl Distinct {
    /// Finds the equal ones.
    #[must_use]
    pub fn of(texts: &[Arc<str>]) -> Self {
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
#[must_use]
pub fn pieces(sizes: &[usize], max_bytes: usize, max_rows: usize) -> Vec<Range<usize>> {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
