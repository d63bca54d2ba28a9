//! For tests: runs kernels on vectors of any width, including emulated ones.

use pulp::Scalar;
use pulp::x86::{V3, V3_128b, V3_256b, V3_512b};

/// Pseudo-random numbers between −1 and 1.
pub(crate) fn noise(count: usize) -> Vec<f32> {
    (0..count).map(|place| (place * 7919 % 4001) as f32 / 2000.0 - 1.0).collect()
}

/// Checks that vectors of one, four, eight and sixteen numbers give the same to the bit.
pub(crate) fn assert_same(
    one: impl Fn(Scalar) -> Vec<f32>,
    four: impl Fn(V3_128b) -> Vec<f32>,
    eight: impl Fn(V3_256b) -> Vec<f32>,
    sixteen: impl Fn(V3_512b) -> Vec<f32>,
) {
    let want = one(Scalar);
    assert!(want.iter().all(|value| value.is_finite()) && want.iter().any(|value| *value != 0.0));
    // Without AVX2 there is nothing to compare with.
    let Some(simd) = V3::try_new() else { return };
    for got in [four(V3_128b(simd)), eight(V3_256b(simd)), sixteen(V3_512b(simd))] {
        assert_eq!(got, want);
    }
}
