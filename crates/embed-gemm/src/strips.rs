//! Products of rows with strips of outputs: what those in single precision and those of 16 bits have in common.

#![cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "numbers are loaded from and stored to pointers")
)]

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

use crate::panels::COLUMNS;
#[cfg(target_arch = "x86_64")]
use crate::product::heights;

/// Rows of values, at a distance from each other.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a, T = f32> {
    /// From the first value of the first row on.
    pub values: &'a [T],
    /// From a row to the next.
    pub stride: usize,
    /// How many there are.
    pub count: usize,
    /// Values of a row: the inputs.
    pub depth: usize,
}

/// Weights, [`COLUMNS`] of an input side by side.
#[derive(Debug, Clone, Copy)]
pub struct Strips<'a, T = f32> {
    /// From the first weight on.
    pub values: &'a [T],
    /// From the weights of an input to those of the next.
    pub stride: usize,
    /// From a strip of [`COLUMNS`] to the next.
    pub distance: usize,
    /// How many strips there are.
    pub count: usize,
}

/// A product of rows with strips, whose slices are as long as its counts say.
pub(crate) struct Product<'a, T, S> {
    rows: Rows<'a, T>,
    strips: Strips<'a, T>,
    out: &'a mut [S],
    stride: usize,
}

impl<'a, T: Copy, S: Copy> Product<'a, T, S> {
    /// `out[row, column]`, in rows of `stride` values; `None` if there is nothing to compute.
    ///
    /// # Panics
    ///
    /// If a slice is too short.
    pub(crate) fn new(
        rows: Rows<'a, T>,
        strips: Strips<'a, T>,
        out: &'a mut [S],
        stride: usize,
    ) -> Option<Self> {
        if rows.count == 0 || strips.count == 0 {
            return None;
        }
        assert!(rows.depth > 0);
        assert!(end([(rows.count, rows.stride)], rows.depth) <= rows.values.len(), "the rows are there");
        let of_strips = [(strips.count, strips.distance), (rows.depth, strips.stride)];
        assert!(end(of_strips, COLUMNS) <= strips.values.len(), "the strips are there");
        assert!(end([(rows.count, stride), (strips.count, COLUMNS)], COLUMNS) <= out.len(), "there is room");
        Some(Self { rows, strips, out, stride })
    }

    /// Computes it in plain Rust: `step` adds the product of a value and a weight to a sum.
    pub(crate) fn portable(self, zero: S, step: impl Fn(S, T, T) -> S) {
        let Self { rows, strips, out, stride } = self;
        for row in 0..rows.count {
            let values = &rows.values[row * rows.stride..][..rows.depth];
            for strip in 0..strips.count {
                let mut sums = [zero; COLUMNS];
                for (input, value) in values.iter().enumerate() {
                    let weights =
                        &strips.values[strip * strips.distance + input * strips.stride..][..COLUMNS];
                    sums.iter_mut().zip(weights).for_each(|(sum, weight)| *sum = step(*sum, *value, *weight));
                }
                out[row * stride + strip * COLUMNS..][..COLUMNS].copy_from_slice(&sums);
            }
        }
    }

    /// Computes it by tiles of vectors.
    ///
    /// # Safety
    ///
    /// The processor has the instructions of the vectors, and the function that this is inlined into enables them.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(crate) unsafe fn vectors<V: Vectors<Value = T, Sum = S>>(self) {
        let Self { rows, strips, out, stride } = self;
        for strip in (0..strips.count).step_by(V::STRIPS) {
            for (row, height) in heights(rows.count, V::HEIGHT) {
                // SAFETY: row and strip are below the counts, for which `new` checked the slices.
                let (values, weights, out) = unsafe {
                    (
                        rows.values.as_ptr().add(row * rows.stride),
                        strips.values.as_ptr().add(strip * strips.distance),
                        out.as_mut_ptr().add(row * stride + strip * COLUMNS),
                    )
                };
                let tile = Tile { values, weights, out, rows, strips, stride };
                // SAFETY: the tile reads `depth` values of each of its rows and `COLUMNS` of each input of its strips, and
                // writes `COLUMNS` values of each strip and row: `new` checked that all of that lies in the slices.
                unsafe {
                    match (V::STRIPS == 2 && strip + 1 < strips.count, row == 0) {
                        (true, true) => tile.of_height::<V, 2, true>(height),
                        (true, false) => tile.of_height::<V, 2, false>(height),
                        (false, true) => tile.of_height::<V, 1, true>(height),
                        (false, false) => tile.of_height::<V, 1, false>(height),
                    }
                }
            }
        }
    }
}

/// Where the last of so many values ends, at these counts and distances.
fn end<const N: usize>(counts: [(usize, usize); N], last: usize) -> usize {
    let far = |(count, distance): (usize, usize)| (count - 1).saturating_mul(distance);
    counts.into_iter().map(far).fold(last, usize::saturating_add)
}

/// How some instructions compute the sums of a row with a strip. Its functions have one instruction or two each.
///
/// # Safety
///
/// All of them may be called only where the instructions are enabled.
#[cfg(target_arch = "x86_64")]
pub(crate) trait Vectors {
    /// A value of a row, and a weight.
    type Value: Copy;
    /// What products are added up in.
    type Sum: Copy;
    /// The weights of an input, in registers.
    type Weights: Copy;
    /// The sums of a row with a strip, in registers.
    type Sums: Copy;
    /// Rows of a tile, at most 12.
    const HEIGHT: usize;
    /// Strips of a tile: one or two.
    const STRIPS: usize;

    unsafe fn zero() -> Self::Sums;
    /// `COLUMNS` weights are read.
    unsafe fn load(weights: *const Self::Value) -> Self::Weights;
    /// A value is read.
    unsafe fn add(sums: Self::Sums, value: *const Self::Value, weights: Self::Weights) -> Self::Sums;
    /// `COLUMNS` sums are written.
    unsafe fn store(sums: Self::Sums, out: *mut Self::Sum);
}

/// Where a tile is.
#[cfg(target_arch = "x86_64")]
struct Tile<'a, T, S> {
    values: *const T,
    weights: *const T,
    out: *mut S,
    rows: Rows<'a, T>,
    strips: Strips<'a, T>,
    stride: usize,
}

#[cfg(target_arch = "x86_64")]
impl<T: Copy, S: Copy> Tile<'_, T, S> {
    /// With `AHEAD` the weights of the next strips are fetched from memory meanwhile.
    ///
    /// # Safety
    ///
    /// The tile has so many rows and strips, and the instructions are enabled.
    #[inline(always)]
    unsafe fn of_height<V: Vectors<Value = T, Sum = S>, const STRIPS: usize, const AHEAD: bool>(
        self,
        height: usize,
    ) {
        /// The code for each height up to that of a tile.
        macro_rules! heights {
            ($($height:literal)+) => {
                match height {
                    // SAFETY: the caller's promise.
                    $($height if $height <= V::HEIGHT => unsafe { self.cells::<V, $height, STRIPS, AHEAD>() },)+
                    _ => {}
                }
            };
        }
        heights!(1 2 3 4 5 6 7 8 9 10 11 12);
    }

    /// # Safety
    ///
    /// The tile has so many rows and strips, and the instructions are enabled.
    #[inline(always)]
    unsafe fn cells<
        V: Vectors<Value = T, Sum = S>,
        const ROWS: usize,
        const STRIPS: usize,
        const AHEAD: bool,
    >(
        self,
    ) {
        let Self { values, mut weights, out, rows, strips, stride } = self;
        // SAFETY: an input is one of `depth` of each row, and has `COLUMNS` weights in each strip; there is room for
        // `COLUMNS` sums of each row and strip.
        unsafe {
            let mut sums = [[V::zero(); STRIPS]; ROWS];
            for input in 0..rows.depth {
                let mut vectors = [V::load(weights); STRIPS];
                for (strip, vector) in vectors.iter_mut().enumerate().skip(1) {
                    *vector = V::load(weights.add(strip * strips.distance));
                }
                if AHEAD {
                    for strip in STRIPS..2 * STRIPS {
                        // It reads nothing, so there need be no next strips.
                        _mm_prefetch::<_MM_HINT_T0>(weights.wrapping_add(strip * strips.distance).cast());
                    }
                }
                for (row, sums) in sums.iter_mut().enumerate() {
                    for (sums, vector) in sums.iter_mut().zip(vectors) {
                        *sums = V::add(*sums, values.add(row * rows.stride + input), vector);
                    }
                }
                // Never read beyond the last input.
                weights = weights.wrapping_add(strips.stride);
            }
            for (row, sums) in sums.into_iter().enumerate() {
                for (strip, sums) in sums.into_iter().enumerate() {
                    V::store(sums, out.add(row * stride + strip * COLUMNS));
                }
            }
        }
    }
}
