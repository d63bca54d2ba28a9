//! Vector maths on plain slices. Sums are computed in `f64`, where no square of an `f32` overflows or underflows, so that
//! norms from the smallest number to the largest are right.
//!
//! These functions don't check spaces; compare vectors with [`Embedding::similarity`](crate::Embedding::similarity),
//! which refuses vectors of different spaces.

use crate::{Error, ErrorKind, Result};

/// The inner product of two vectors of the same dimension.
#[must_use]
pub fn dot(a: &[f32], b: &[f32]) -> f64 {
    debug_assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
}

/// The Euclidean norm. It is 0 only for a zero vector.
#[must_use]
pub fn norm(vector: &[f32]) -> f64 {
    dot(vector, vector).sqrt()
}

/// Divides a vector by its norm, however small or large that is. A zero vector has no direction: it stays zero and
/// never becomes NaN.
pub fn normalise(vector: &mut [f32]) {
    let factor = to_unit(vector);
    for value in vector {
        *value = (f64::from(*value) * factor) as f32;
    }
}

/// The factor that gives a vector norm 1; 1 for a zero vector.
fn to_unit(vector: &[f32]) -> f64 {
    let norm = norm(vector);
    if norm == 0.0 { 1.0 } else { norm.recip() }
}

/// The cosine of the angle between two vectors, from -1 to 1, whatever their norms; 0 if one of them is zero.
///
/// # Errors
///
/// [`ErrorKind::DimensionMismatch`] if their dimensions differ.
pub fn cosine(a: &[f32], b: &[f32]) -> Result<f32> {
    same_width(a.len(), b.len())?;
    let norms = norm(a) * norm(b);
    Ok(if norms == 0.0 { 0.0 } else { (dot(a, b) / norms).clamp(-1.0, 1.0) as f32 })
}

fn same_width(left: usize, right: usize) -> Result<()> {
    if left == right {
        return Ok(());
    }
    Err(Error::new(ErrorKind::DimensionMismatch, "the vectors have different dimensions")
        .with_context("left", left)
        .with_context("right", right))
}

/// The first `dimension` numbers of a vector, normalised again; a vector with exactly that many is returned as it is.
///
/// The result is useful only for models that were trained for this (Matryoshka representations).
///
/// # Errors
///
/// [`ErrorKind::InvalidInput`] if `dimension` is 0 or more than the vector has, or if only zeros would be left.
pub fn truncate_dimensions(vector: &[f32], dimension: usize) -> Result<Vec<f32>> {
    if dimension == 0 || dimension > vector.len() {
        return Err(Error::new(ErrorKind::InvalidInput, "a vector can't be cut to that many dimensions")
            .with_context("asked", dimension)
            .with_context("has", vector.len()));
    }
    let mut cut = vector[..dimension].to_vec();
    if dimension == vector.len() {
        return Ok(cut);
    }
    if cut.iter().all(|value| *value == 0.0) {
        return Err(Error::new(ErrorKind::InvalidInput, "cut to that many dimensions, the vector is zero")
            .with_context("asked", dimension)
            .with_context("has", vector.len()));
    }
    normalise(&mut cut);
    Ok(cut)
}

/// Computes the vector of a text that was embedded in chunks, as
/// [`Truncation::ChunkMean`](crate::Truncation::ChunkMean) defines it for every service.
///
/// ```
/// use embed_core::vector::ChunkMean;
///
/// let mut mean = ChunkMean::default();
/// mean.add(&[5.0, 0.0], 3)?; // counts as [1, 0]
/// mean.add(&[0.0, 1.0], 4)?;
/// assert_eq!(mean.finish(), [0.6, 0.8]);
/// # Ok::<(), embed_core::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct ChunkMean {
    sum: Vec<f64>,
}

impl ChunkMean {
    /// Adds the next chunk of the text: its vector, of any norm, and how many tokens of the text it has. Add chunks in
    /// the order of the text, so that the sum is bit for bit the same each time.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::DimensionMismatch`] if the chunks before it had another dimension.
    pub fn add(&mut self, vector: &[f32], tokens: usize) -> Result<()> {
        if self.sum.is_empty() {
            self.sum.resize(vector.len(), 0.0);
        }
        same_width(self.sum.len(), vector.len())?;
        let weight = to_unit(vector) * tokens as f64;
        for (sum, value) in self.sum.iter_mut().zip(vector) {
            *sum += f64::from(*value) * weight;
        }
        Ok(())
    }

    /// The mean, of norm 1; zero if no chunk had a token, or if the chunks cancel each other out.
    #[must_use]
    pub fn finish(self) -> Vec<f32> {
        let norm = self.sum.iter().map(|value| value * value).sum::<f64>().sqrt();
        let factor = if norm == 0.0 { 1.0 } else { norm.recip() };
        self.sum.into_iter().map(|value| (value * factor) as f32).collect()
    }
}

/// Checks that a vector has the right dimension, and that its numbers are finite and not all zero.
///
/// # Errors
///
/// [`ErrorKind::DimensionMismatch`] or [`ErrorKind::Protocol`].
pub fn check(vector: &[f32], dimension: usize) -> Result<()> {
    if vector.len() != dimension {
        return Err(Error::new(ErrorKind::DimensionMismatch, "the vector's dimension isn't its model's")
            .with_context("expected", dimension)
            .with_context("got", vector.len()));
    }
    if !all_finite(vector) {
        let at = vector.iter().take_while(|value| value.is_finite()).count();
        return Err(Error::new(ErrorKind::Protocol, "the vector has a number that is NaN or infinite")
            .with_context("at", at));
    }
    if vector.iter().all(|value| *value == 0.0) {
        return Err(Error::new(ErrorKind::Protocol, "the vector is zero"));
    }
    Ok(())
}

/// Every vector of every back end and cache goes through here, and nearly all are finite. So it doesn't stop early, and
/// the compiler can vectorise it: it takes a fifth of the time of a search for the first bad number.
fn all_finite(vector: &[f32]) -> bool {
    // In NaN and infinity all bits of the exponent are set, so that adding one carries into the sign bit.
    const SIGN: u32 = 1 << 31;
    const EXPONENT_ONE: u32 = 1 << 23;
    let carries =
        vector.iter().fold(0, |carries, number| carries | ((number.to_bits() & !SIGN) + EXPONENT_ONE));
    carries & SIGN == 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn zero_stays_zero() {
        let mut zero = [0.0_f32; 4];
        normalise(&mut zero);
        assert_eq!(zero, [0.0; 4]);
        assert_eq!(cosine(&zero, &[1.0; 4]).unwrap(), 0.0);
    }

    /// From the smallest number to the largest.
    const LENGTHS: [f32; 9] = [1e-45, 1e-38, 1e-20, 1e-9, 1e-7, 1.0, 1e9, 1e30, f32::MAX];

    #[test]
    fn the_cosine_does_not_depend_on_lengths() {
        for (a, b) in LENGTHS.into_iter().flat_map(|a| LENGTHS.map(|b| (a, b))) {
            let is = |left: [f32; 2], right: [f32; 2], cosine: f32| {
                let got = super::cosine(&left, &right).unwrap();
                assert!((got - cosine).abs() < 1e-6, "{left:?} to {right:?}: {got}");
            };
            is([a, a], [b, b], 1.0);
            is([a, a], [-b, -b], -1.0);
            is([a, a], [b, -b], 0.0);
            is([a, 0.0], [b, b], std::f32::consts::FRAC_1_SQRT_2);
        }
    }

    #[test]
    fn a_vector_that_passes_the_check_has_norm_one_once_normalised() {
        for length in LENGTHS {
            for mut vector in [vec![length; 4], vec![0.0, length, 0.0], vec![length; 1024]] {
                check(&vector, vector.len()).unwrap();
                normalise(&mut vector);
                assert!((norm(&vector) - 1.0).abs() < 1e-6, "{length:e}: {}", norm(&vector));
                let cut = truncate_dimensions(&[length, length, length], 2).unwrap();
                assert!((norm(&cut) - 1.0).abs() < 1e-6, "{length:e}: {}", norm(&cut));
            }
        }
    }

    #[test]
    fn a_cut_makes_no_zero_vector() {
        let cut = |dimension| truncate_dimensions(&[0.0, -0.0, 3.0], dimension);
        assert_eq!(cut(2).unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(cut(3).unwrap(), [0.0, 0.0, 3.0], "a cut to the full dimension changes nothing");
    }

    #[test]
    fn chunks_weigh_their_tokens_and_not_their_norms() {
        let mean = |chunks: &[(&[f32], usize)]| {
            let mut mean = ChunkMean::default();
            chunks.iter().for_each(|(vector, tokens)| mean.add(vector, *tokens).unwrap());
            mean.finish()
        };
        let expected = mean(&[(&[1.0, 0.0], 3), (&[0.0, 1.0], 4)]);
        assert_eq!(expected, [0.6, 0.8]);
        for length in LENGTHS {
            assert_eq!(mean(&[(&[length, 0.0], 3), (&[0.0, 1.0], 4)]), expected, "{length:e}");
        }
        assert_eq!(mean(&[(&[0.0, 2.0], 7)]), [0.0, 1.0]);
        assert_eq!(mean(&[(&[1.0, 0.0], 5), (&[-1.0, 0.0], 5)]), [0.0, 0.0], "nothing is left");
        assert_eq!(mean(&[]), [0.0; 0]);
        let mut widths = ChunkMean::default();
        widths.add(&[1.0], 1).unwrap();
        assert_eq!(widths.add(&[1.0, 0.0], 1).unwrap_err().kind(), ErrorKind::DimensionMismatch);
    }

    #[test]
    fn widths_must_agree() {
        assert_eq!(cosine(&[1.0], &[1.0, 0.0]).unwrap_err().kind(), ErrorKind::DimensionMismatch);
        assert_eq!(truncate_dimensions(&[1.0], 2).unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(truncate_dimensions(&[1.0], 0).unwrap_err().kind(), ErrorKind::InvalidInput);
    }

    #[test]
    fn bad_vectors_are_caught() {
        assert_eq!(check(&[1.0], 2).unwrap_err().kind(), ErrorKind::DimensionMismatch);
        assert_eq!(check(&[1.0, f32::NAN], 2).unwrap_err().kind(), ErrorKind::Protocol);
        assert_eq!(check(&[1.0, f32::INFINITY], 2).unwrap_err().kind(), ErrorKind::Protocol);
        check(&[f32::MAX, f32::MIN, f32::MIN_POSITIVE, -0.0], 4).unwrap();
        assert_eq!(check(&[0.0, -0.0], 2).unwrap_err().kind(), ErrorKind::Protocol);
        check(&[0.0, 1e-30], 2).unwrap();
    }

    proptest! {
        #[test]
        fn normalised_vectors_have_norm_one(mut vector in prop::collection::vec(-1e3_f32..1e3, 1..600)) {
            prop_assume!(norm(&vector) > 1e-3);
            normalise(&mut vector);
            prop_assert!((norm(&vector) - 1.0).abs() < 1e-5);
            prop_assert!((cosine(&vector, &vector).unwrap() - 1.0).abs() < 1e-6);
        }

        #[test]
        fn one_number_that_is_not_finite_is_found(
            mut vector in prop::collection::vec(any::<f32>(), 1..100),
            at in any::<prop::sample::Index>(),
            bad in prop::sample::select(vec![f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY]),
        ) {
            prop_assert_eq!(all_finite(&vector), vector.iter().all(|number| number.is_finite()));
            let at = at.index(vector.len());
            vector[at] = bad;
            prop_assert!(!all_finite(&vector));
        }

        #[test]
        fn cutting_renormalises(vector in prop::collection::vec(0.1_f32..10.0, 2..64)) {
            let cut = truncate_dimensions(&vector, vector.len() - 1).unwrap();
            prop_assert!((norm(&cut) - 1.0).abs() < 1e-5);
        }
    }
}
