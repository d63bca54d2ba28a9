//! Sums and bounds of rows, in an order that doesn't depend on how wide vectors are: so the bits are the same on every
//! processor.

use pulp::Simd;

use crate::lanes::LANES;

/// Independent sums, so that an addition needn't wait for the one before: those of values at the same place in blocks of so
/// many, and then of sums at a distance of a half, a quarter and so on.
const PARTS: usize = 2 * LANES;

/// Combines all values of a row: `step` adds a vector to sums, which begin with `start`, and `join` joins two sums.
#[inline(always)]
fn fold<S: Simd>(
    row: &[f32],
    start: S::f32s,
    step: impl Fn(S::f32s, S::f32s) -> S::f32s,
    join: impl Fn(f32, f32) -> f32,
) -> f32 {
    let vectors = PARTS / S::F32_LANES;
    let mut parts = [start; PARTS];
    let blocks = S::as_simd_f32s(row).0.chunks_exact(vectors);
    // A row is a multiple of half a block.
    let rest = blocks.remainder();
    for block in blocks {
        for place in 0..vectors {
            parts[place] = step(parts[place], block[place]);
        }
    }
    if rest.len() >= vectors / 2 {
        for place in 0..vectors / 2 {
            parts[place] = step(parts[place], rest[place]);
        }
    }
    joined::<S, PARTS>(parts, join)
}

/// Joins the first `N` values of vectors: those at a distance of a half, then of a quarter, and so on.
#[inline(always)]
pub(crate) fn joined<S: Simd, const N: usize>(vectors: [S::f32s; N], join: impl Fn(f32, f32) -> f32) -> f32 {
    let mut values = [0.0; N];
    S::as_mut_simd_f32s(&mut values).0.copy_from_slice(&vectors[..N / S::F32_LANES]);
    let mut half = N / 2;
    while half > 0 {
        for place in 0..half {
            values[place] = join(values[place], values[place + half]);
        }
        half /= 2;
    }
    values[0]
}

/// The sum.
#[inline(always)]
pub(crate) fn sum<S: Simd>(simd: S, row: &[f32]) -> f32 {
    fold::<S>(
        row,
        simd.splat_f32s(0.0),
        #[inline(always)]
        |sum, value| simd.add_f32s(sum, value),
        add,
    )
}

/// The sum of the squared distances from a number.
#[inline(always)]
pub(crate) fn squares<S: Simd>(simd: S, row: &[f32], from: f32) -> f32 {
    let from = simd.splat_f32s(from);
    fold::<S>(
        row,
        simd.splat_f32s(0.0),
        #[inline(always)]
        |sum, value| {
            let distance = simd.sub_f32s(value, from);
            simd.mul_add_f32s(distance, distance, sum)
        },
        add,
    )
}

/// The least and the largest value.
#[inline(always)]
pub(crate) fn range<S: Simd>(simd: S, row: &[f32]) -> [f32; 2] {
    let least = fold::<S>(
        row,
        simd.splat_f32s(f32::INFINITY),
        #[inline(always)]
        |least, value| simd.min_f32s(value, least),
        #[inline(always)]
        |a, b| if b < a { b } else { a },
    );
    [least, largest(simd, row)]
}

/// The largest value.
#[inline(always)]
pub(crate) fn largest<S: Simd>(simd: S, row: &[f32]) -> f32 {
    fold::<S>(
        row,
        simd.splat_f32s(f32::NEG_INFINITY),
        #[inline(always)]
        |largest, value| simd.max_f32s(value, largest),
        #[inline(always)]
        |a, b| if b > a { b } else { a },
    )
}

#[inline(always)]
pub(crate) fn add(a: f32, b: f32) -> f32 {
    a + b
}
