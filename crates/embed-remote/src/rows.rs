//! The rows of an answer: one flat buffer, and the check of every row.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;

use embed_core::vector;
use serde::de::{self, DeserializeSeed, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::seen::RowFault;

/// Rows in one flat buffer; a row that is `null` has no numbers, a number that is `null` is NaN. Neither
/// must make the answer unreadable: the other rows may be good.
#[derive(Debug, Default, PartialEq)]
pub struct Rows {
    values: Vec<f32>,
    ends: Vec<usize>,
}

/// The rows of an answer: a vector each, or why it is none.
#[derive(Debug)]
pub struct Reply {
    /// In the order of the texts.
    pub rows: Vec<Result<Vec<f32>, RowFault>>,
    /// Tokens of the whole answer, as the server counts them.
    pub tokens: Option<usize>,
    /// Rows that are equal to a row before them.
    pub shared: usize,
}

/// What is known of the norms of a server's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Norms {
    /// They are 1, and another one is a fault.
    One,
    /// They are anything, and the rows are divided by them.
    Divided,
    /// They are anything, and stay.
    Kept,
}

impl Rows {
    /// Adds a row; an empty one stands for `null`.
    pub fn push(&mut self, row: &[f32]) {
        self.values.extend_from_slice(row);
        self.ends.push(self.values.len());
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// One of them.
    ///
    /// # Panics
    ///
    /// If there are fewer.
    #[must_use]
    pub fn row(&self, index: usize) -> &[f32] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.values[start..self.ends[index]]
    }
}

impl<'de> Deserialize<'de> for Rows {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Rows;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of vectors")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Rows, A::Error> {
                let mut rows = Rows::default();
                while seq.next_element_seed(Numbers(&mut rows.values))?.is_some() {
                    rows.ends.push(rows.values.len());
                }
                Ok(rows)
            }
        }
        deserializer.deserialize_seq(All)
    }
}

/// Reads the numbers of one row to the end of a buffer: `null` is no number, and a number that is `null` is NaN.
#[derive(Debug)]
pub struct Numbers<'a>(pub &'a mut Vec<f32>);

impl<'de> DeserializeSeed<'de> for Numbers<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Numbers<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a vector or null")
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(number) = seq.next_element::<Option<f32>>()? {
            self.0.push(number.unwrap_or(f32::NAN));
        }
        Ok(())
    }
}

/// How far a norm may be from 1: a server's vectors are normalised, and sums of floats are not exact.
const NORM_TOLERANCE: f64 = 1e-2;

/// Checks the rows of an answer to so many different texts. The reply has no count of tokens yet.
///
/// # Errors
///
/// A fault of the whole answer, where no row can be trusted to be its text's.
pub fn check_rows(
    rows: &Rows,
    texts: usize,
    dimension: Option<usize>,
    norms: Norms,
) -> Result<Reply, RowFault> {
    if rows.is_empty() && texts > 0 {
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
            check_row(row, width, norms)?;
            let mut row_vector = row.to_vec();
            if norms == Norms::Divided {
                vector::normalise(&mut row_vector);
            }
            match seen.entry(bits(row)) {
                Entry::Occupied(first) if rows.row(*first.get()) == row => shared += 1,
                Entry::Occupied(_) => {}
                Entry::Vacant(place) => {
                    place.insert(index);
                }
            }
            Ok(row_vector)
        })
        .collect();
    Ok(Reply { rows: checked, tokens: None, shared })
}

fn check_row(row: &[f32], width: usize, norms: Norms) -> Result<(), RowFault> {
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
    if norms == Norms::One && (norm - 1.0).abs() > NORM_TOLERANCE {
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
    use super::*;

    fn rows(json: &str) -> Rows {
        serde_json::from_str(json).unwrap()
    }

    fn faults(json: &str, texts: usize) -> Vec<Option<RowFault>> {
        let reply = check_rows(&rows(json), texts, Some(2), Norms::One).unwrap();
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
        let check = |json, texts| check_rows(&rows(json), texts, Some(2), Norms::One).unwrap_err();
        assert_eq!(check("[[1,0]]", 2), RowFault::Count);
        assert_eq!(check("[[1,0],[0,1]]", 1), RowFault::Count);
        assert_eq!(check("[]", 1), RowFault::None);
    }

    #[test]
    fn equal_rows_of_different_texts_are_counted() {
        let reply = check_rows(&rows("[[1,0],[0,1],[1,0],[1,0]]"), 4, None, Norms::One).unwrap();
        assert_eq!(reply.shared, 2);
    }

    #[test]
    fn raw_rows_are_normalised() {
        for raw in ["[[3,4]]", "[[3e-20,4e-20]]", "[[1.5e38,2e38]]"] {
            let reply = check_rows(&rows(raw), 1, None, Norms::Divided).unwrap();
            assert_eq!(reply.rows[0].as_deref(), Ok([0.6, 0.8].as_slice()), "{raw}");
        }
    }
}
