//! Vector maths on plain slices. Sums are kept in `f64`, so that a result doesn't depend on the width.
//!
//! These functions know no spaces; compare vectors through [`Embedding::similarity`](crate::Embedding::similarity),
//! which refuses two spaces.

use crate::{Error, ErrorKind, Result};

/// Under this norm a vector is taken for zero: it is what PyTorch's `normalize` uses, which the reference
/// implementations of these models call.
pub const NORM_EPSILON: f64 = 1e-12;

/// The inner product of two vectors of one length.
#[must_use]
pub fn dot(a: &[f32], b: &[f32]) -> f64 {
    debug_assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
}

/// The Euclidean norm.
#[must_use]
pub fn norm(vector: &[f32]) -> f64 {
    dot(vector, vector).sqrt()
}

/// Divides a vector by its norm, or by [`NORM_EPSILON`] if that is larger: a zero vector stays zero and
/// never becomes NaN.
pub fn normalise(vector: &mut [f32]) {
    let factor = norm(vector).max(NORM_EPSILON).recip();
    for value in vector {
        *value = (f64::from(*value) * factor) as f32;
    }
}

/// The cosine of the angle between two vectors, from -1 to 1; 0 if one of them is zero.
///
/// # Errors
///
/// [`ErrorKind::DimensionMismatch`] if their widths differ.
pub fn cosine(a: &[f32], b: &[f32]) -> Result<f32> {
    if a.len() != b.len() {
        return Err(Error::new(ErrorKind::DimensionMismatch, "vectors of two widths have no cosine")
            .with_context("left", a.len())
            .with_context("right", b.len()));
    }
    let norms = norm(a) * norm(b);
    let cosine = dot(a, b) / norms.max(NORM_EPSILON);
    Ok(cosine.clamp(-1.0, 1.0) as f32)
}

/// The first `dimension` numbers of a vector, divided by their norm again.
///
/// This keeps the meaning only for models that were trained for it (Matryoshka representations).
///
/// # Errors
///
/// [`ErrorKind::InvalidInput`] if `dimension` is 0 or more than the vector has.
pub fn truncate_dimensions(vector: &[f32], dimension: usize) -> Result<Vec<f32>> {
    if dimension == 0 || dimension > vector.len() {
        return Err(Error::new(ErrorKind::InvalidInput, "a vector can't be cut to that many dimensions")
            .with_context("asked", dimension)
            .with_context("has", vector.len()));
    }
    let mut cut = vector[..dimension].to_vec();
    normalise(&mut cut);
    Ok(cut)
}

/// Checks a vector at the door: the right width, every number finite, not all of them zero.
///
/// # Errors
///
/// [`ErrorKind::DimensionMismatch`] or [`ErrorKind::Protocol`].
pub fn check(vector: &[f32], dimension: usize) -> Result<()> {
    if vector.len() != dimension {
        return Err(Error::new(ErrorKind::DimensionMismatch, "the vector has another width than its model")
            .with_context("expected", dimension)
            .with_context("got", vector.len()));
    }
    if !all_finite(vector) {
        let at = vector.iter().take_while(|value| value.is_finite()).count();
        return Err(Error::new(ErrorKind::Protocol, "the vector has a number that isn't finite")
            .with_context("at", at));
    }
    if vector.iter().all(|value| *value == 0.0) {
        return Err(Error::new(ErrorKind::Protocol, "the vector is zero"));
    }
    Ok(())
}

/// Every vector of every back end and cache goes through here, and nearly all are finite: so there is no early end,
/// and nothing that a compiler can't turn into vector instructions. It takes a fifth of the time of a search.
fn all_finite(vector: &[f32]) -> bool {
    // What isn't finite has all bits of the exponent set. One more carries into the place of the sign.
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
