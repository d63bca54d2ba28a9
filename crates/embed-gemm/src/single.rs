//! Products in single precision. Each number is summed over the inputs in their order, one fused operation an input, so it is
//! the same to the bit whatever rows and columns stand beside it.

#![cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "vectors are loaded from and stored to pointers")
)]

use std::sync::LazyLock;

use crate::panels::COLUMNS;

/// Rows of values, at a distance from each other.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    /// From the first value of the first row on.
    pub values: &'a [f32],
    /// From a row to the next.
    pub stride: usize,
    /// How many there are.
    pub count: usize,
    /// Values of a row: the inputs.
    pub depth: usize,
}

/// Weights, [`COLUMNS`] of an input side by side.
#[derive(Debug, Clone, Copy)]
pub struct Strips<'a> {
    /// From the first weight on.
    pub values: &'a [f32],
    /// From the weights of an input to those of the next.
    pub stride: usize,
    /// From a strip of [`COLUMNS`] to the next.
    pub distance: usize,
    /// How many strips there are.
    pub count: usize,
}

/// Vectors of single precision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Vectors {
    None,
    #[cfg(target_arch = "x86_64")]
    Fma,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Vectors {
    /// The widest that the processor has and `wide` allows, of those that hold; with `any` false none.
    pub(crate) fn detect(any: bool, wide: bool) -> Self {
        static HOLD: LazyLock<Vec<Vectors>> =
            LazyLock::new(|| Vectors::found().into_iter().filter(|&vectors| holds(vectors)).collect());
        let allowed = |vectors: &Self| any && (wide || !vectors.is_wide());
        HOLD.iter().copied().find(allowed).unwrap_or(Self::None)
    }

    /// Whether they are wider than 256 bits.
    fn is_wide(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        {
            self == Self::Avx512
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            false
        }
    }

    /// What the processor has, the widest first.
    fn found() -> Vec<Self> {
        #[cfg(target_arch = "x86_64")]
        {
            let fma = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            let found = [(Self::Avx512, is_x86_feature_detected!("avx512f")), (Self::Fma, fma)];
            found.into_iter().filter_map(|(vectors, there)| there.then_some(vectors)).collect()
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            Vec::new()
        }
    }
}

/// Whether vectors give the numbers of plain Rust, tried over all heights of tiles before they are used.
fn holds(vectors: Vectors) -> bool {
    const ROWS: usize = 29;
    const DEPTH: usize = 9;
    let numbers = |count: usize| -> Vec<f32> {
        (0..count).map(|place| (place * 7919 % 4001) as f32 / 2000.5 - 1.0).collect()
    };
    let (values, weights) = (numbers(ROWS * DEPTH), numbers(2 * DEPTH * COLUMNS));
    (1..=ROWS).all(|count| {
        let rows = Rows { values: &values, stride: DEPTH, count, depth: DEPTH };
        let strips = Strips { values: &weights, stride: COLUMNS, distance: DEPTH * COLUMNS, count: 2 };
        let [found, wanted] = [vectors, Vectors::None].map(|vectors| {
            let mut out = vec![f32::NAN; count * 2 * COLUMNS];
            product(vectors, rows, strips, &mut out, 2 * COLUMNS);
            out
        });
        found == wanted
    })
}

/// The products: `out[row, column]`, in rows of `stride` values.
///
/// # Panics
///
/// If a slice is too short.
pub(crate) fn product(vectors: Vectors, rows: Rows<'_>, strips: Strips<'_>, out: &mut [f32], stride: usize) {
    if rows.count == 0 || strips.count == 0 {
        return;
    }
    assert!(rows.depth > 0);
    assert!(end([(rows.count, rows.stride)], rows.depth) <= rows.values.len(), "the rows are there");
    let of_strips = [(strips.count, strips.distance), (rows.depth, strips.stride)];
    assert!(end(of_strips, COLUMNS) <= strips.values.len(), "the strips are there");
    assert!(end([(rows.count, stride), (strips.count, COLUMNS)], COLUMNS) <= out.len(), "there is room");
    match vectors {
        Vectors::None => portable(rows, strips, out, stride),
        // SAFETY: `detect` found the instructions. A tile reads `depth` values of each of its rows and `COLUMNS` of each
        // input of a strip, and writes `COLUMNS` values of each row: all of that was just checked to lie in the slices.
        #[cfg(target_arch = "x86_64")]
        Vectors::Fma => unsafe { x86::fma(rows, strips, out, stride) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Vectors::Avx512 => unsafe { x86::avx512(rows, strips, out, stride) },
    }
}

/// Where the last of so many values ends, at these counts and distances.
fn end<const N: usize>(counts: [(usize, usize); N], last: usize) -> usize {
    let far = |(count, distance): (usize, usize)| (count - 1).saturating_mul(distance);
    counts.into_iter().map(far).fold(last, usize::saturating_add)
}

fn portable(rows: Rows<'_>, strips: Strips<'_>, out: &mut [f32], stride: usize) {
    for row in 0..rows.count {
        let values = &rows.values[row * rows.stride..][..rows.depth];
        for strip in 0..strips.count {
            let mut sums = [0.0_f32; COLUMNS];
            for (input, value) in values.iter().enumerate() {
                let weights = &strips.values[strip * strips.distance + input * strips.stride..][..COLUMNS];
                sums.iter_mut().zip(weights).for_each(|(sum, weight)| *sum = value.mul_add(*weight, *sum));
            }
            out[row * stride + strip * COLUMNS..][..COLUMNS].copy_from_slice(&sums);
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        _mm256_broadcast_ss, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_setzero_ps, _mm256_storeu_ps,
        _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_set1_ps, _mm512_setzero_ps, _mm512_storeu_ps,
    };

    use crate::panels::COLUMNS;
    use crate::product::heights;
    use crate::single::{Rows, Strips};

    /// Rows of a tile: with two vectors of columns the sums fill twelve of sixteen registers.
    const FMA: usize = 6;
    /// With one vector of columns, enough sums that none waits for the one before.
    const AVX512: usize = 14;

    /// Calls `$tile` with the pointers of each tile.
    macro_rules! tiles {
        ($rows:ident, $strips:ident, $out:ident, $stride:ident, $height:ident, $tile:ident, [$($count:literal)+]) => {
            for strip in 0..$strips.count {
                for (row, height) in heights($rows.count, $height) {
                    // SAFETY: row and strip are below the counts, for which the caller checked the slices.
                    let (values, weights, out) = unsafe {
                        (
                            $rows.values.as_ptr().add(row * $rows.stride),
                            $strips.values.as_ptr().add(strip * $strips.distance),
                            $out.as_mut_ptr().add(row * $stride + strip * COLUMNS),
                        )
                    };
                    let tile = Tile { values, of_row: $rows.stride, depth: $rows.depth, weights, of_input: $strips.stride, out, stride: $stride };
                    // SAFETY: as above, for so many rows.
                    unsafe {
                        match height {
                            $($count => $tile::<$count>(tile),)+
                            _ => $tile::<$height>(tile),
                        }
                    }
                }
            }
        };
    }

    /// Where a tile is.
    struct Tile {
        values: *const f32,
        of_row: usize,
        depth: usize,
        weights: *const f32,
        of_input: usize,
        out: *mut f32,
        stride: usize,
    }

    /// # Safety
    ///
    /// The slices hold what the counts say.
    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn fma(rows: Rows<'_>, strips: Strips<'_>, out: &mut [f32], stride: usize) {
        tiles!(rows, strips, out, stride, FMA, tile_fma, [1 2 3 4 5]);
    }

    /// # Safety
    ///
    /// The slices hold what the counts say.
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn avx512(rows: Rows<'_>, strips: Strips<'_>, out: &mut [f32], stride: usize) {
        tiles!(rows, strips, out, stride, AVX512, tile_avx512, [1 2 3 4 5 6 7 8 9 10 11 12 13]);
    }

    /// # Safety
    ///
    /// There are so many rows of `depth` values, `COLUMNS` weights of each input, and room for as many of each row.
    #[target_feature(enable = "avx2,fma")]
    unsafe fn tile_fma<const ROWS: usize>(tile: Tile) {
        let Tile { values, of_row, depth, mut weights, of_input, out, stride } = tile;
        let mut sums = [[_mm256_setzero_ps(); 2]; ROWS];
        for input in 0..depth {
            // SAFETY: the weights of an input are two vectors, and the input is one of `depth` of each row.
            unsafe {
                let vectors = [_mm256_loadu_ps(weights), _mm256_loadu_ps(weights.add(8))];
                for (row, sums) in sums.iter_mut().enumerate() {
                    let value = _mm256_broadcast_ss(&*values.add(row * of_row + input));
                    for (sum, vector) in sums.iter_mut().zip(vectors) {
                        *sum = _mm256_fmadd_ps(value, vector, *sum);
                    }
                }
                // Never read beyond the last input.
                weights = weights.wrapping_add(of_input);
            }
        }
        for (row, sums) in sums.into_iter().enumerate() {
            // SAFETY: there is room for two vectors of each row.
            unsafe {
                _mm256_storeu_ps(out.add(row * stride), sums[0]);
                _mm256_storeu_ps(out.add(row * stride + 8), sums[1]);
            }
        }
    }

    /// # Safety
    ///
    /// There are so many rows of `depth` values, `COLUMNS` weights of each input, and room for as many of each row.
    #[target_feature(enable = "avx512f")]
    unsafe fn tile_avx512<const ROWS: usize>(tile: Tile) {
        let Tile { values, of_row, depth, mut weights, of_input, out, stride } = tile;
        let mut sums = [_mm512_setzero_ps(); ROWS];
        for input in 0..depth {
            // SAFETY: the weights of an input are a vector, and the input is one of `depth` of each row.
            unsafe {
                let vector = _mm512_loadu_ps(weights);
                for (row, sum) in sums.iter_mut().enumerate() {
                    *sum = _mm512_fmadd_ps(_mm512_set1_ps(*values.add(row * of_row + input)), vector, *sum);
                }
                // Never read beyond the last input.
                weights = weights.wrapping_add(of_input);
            }
        }
        for (row, sum) in sums.into_iter().enumerate() {
            // SAFETY: there is room for a vector of each row.
            unsafe { _mm512_storeu_ps(out.add(row * stride), sum) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_vector_gives_the_same_to_the_bit() {
        let numbers = |count: usize| -> Vec<f32> {
            (0..count).map(|place| (place * 7919 % 4001) as f32 / 2000.5 - 1.0).collect()
        };
        for count in 1..=40 {
            for (depth, strips) in [(1, 1), (7, 3), (64, 2), (97, 1), (397, 2)] {
                let (values, weights) = (numbers(count * (depth + 3)), numbers(strips * depth * COLUMNS));
                let rows = Rows { values: &values, stride: depth + 3, count, depth };
                let packed =
                    Strips { values: &weights, stride: COLUMNS, distance: depth * COLUMNS, count: strips };
                let side_by_side = Strips { stride: strips * COLUMNS, distance: COLUMNS, ..packed };
                for strips in [packed, side_by_side] {
                    let stride = strips.count * COLUMNS + 5;
                    let run = |vectors| {
                        let mut out = vec![0.0; count * stride];
                        product(vectors, rows, strips, &mut out, stride);
                        out
                    };
                    let want = run(Vectors::None);
                    for (any, wide) in [(true, false), (true, true)] {
                        assert_eq!(run(Vectors::detect(any, wide)), want, "{count} rows, {depth} inputs");
                    }
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "the strips are there")]
    fn a_strip_that_is_too_short_is_refused() {
        let rows = Rows { values: &[0.0; 4], stride: 2, count: 2, depth: 2 };
        let strips = Strips { values: &[0.0; 31], stride: COLUMNS, distance: 32, count: 1 };
        product(Vectors::detect(true, true), rows, strips, &mut [0.0; 32], COLUMNS);
    }
}
