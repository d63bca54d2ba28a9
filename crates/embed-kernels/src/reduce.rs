//! Sums and bounds of rows, in explicit vectors, because a compiler may not change the order of a sum.

use pulp::Simd;

/// Independent sums, so that an addition needn't wait for the one before.
const SUMS: usize = 4;

/// Combines all values of a row: `step` adds a vector to a sum, which begins with `start`, and `join` joins two sums.
#[inline(always)]
fn fold<S: Simd>(
    row: &[f32],
    start: S::f32s,
    step: impl Fn(S::f32s, S::f32s) -> S::f32s,
    join: impl Fn(S::f32s, S::f32s) -> S::f32s,
) -> S::f32s {
    let mut sums = [start; SUMS];
    let (groups, rest) = S::as_simd_f32s(row).0.as_chunks::<SUMS>();
    for group in groups {
        for (sum, value) in sums.iter_mut().zip(group) {
            *sum = step(*sum, *value);
        }
    }
    for (sum, value) in sums.iter_mut().zip(rest) {
        *sum = step(*sum, *value);
    }
    join(join(sums[0], sums[1]), join(sums[2], sums[3]))
}

/// The sum.
#[inline(always)]
pub(crate) fn sum<S: Simd>(simd: S, row: &[f32]) -> f32 {
    simd.reduce_sum_f32s(fold::<S>(row, simd.splat_f32s(0.0), adder(simd), adder(simd)))
}

/// The sum of the squared distances from a number.
#[inline(always)]
pub(crate) fn squares<S: Simd>(simd: S, row: &[f32], from: f32) -> f32 {
    let from = simd.splat_f32s(from);
    let sums = fold::<S>(
        row,
        simd.splat_f32s(0.0),
        #[inline(always)]
        |sum, value| {
            let distance = simd.sub_f32s(value, from);
            simd.mul_add_f32s(distance, distance, sum)
        },
        adder(simd),
    );
    simd.reduce_sum_f32s(sums)
}

/// The least and the largest value.
#[inline(always)]
pub(crate) fn range<S: Simd>(simd: S, row: &[f32]) -> [f32; 2] {
    let low = fold::<S>(row, simd.splat_f32s(f32::INFINITY), lesser(simd), lesser(simd));
    let high = fold::<S>(row, simd.splat_f32s(f32::NEG_INFINITY), larger(simd), larger(simd));
    [simd.reduce_min_f32s(low), simd.reduce_max_f32s(high)]
}

#[inline(always)]
fn adder<S: Simd>(simd: S) -> impl Fn(S::f32s, S::f32s) -> S::f32s {
    #[inline(always)]
    move |a, b| simd.add_f32s(a, b)
}

#[inline(always)]
fn lesser<S: Simd>(simd: S) -> impl Fn(S::f32s, S::f32s) -> S::f32s {
    #[inline(always)]
    move |a, b| simd.min_f32s(a, b)
}

#[inline(always)]
fn larger<S: Simd>(simd: S) -> impl Fn(S::f32s, S::f32s) -> S::f32s {
    #[inline(always)]
    move |a, b| simd.max_f32s(a, b)
}
