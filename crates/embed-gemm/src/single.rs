//! Products in single precision. Each number is summed over the inputs in their order, one fused operation an input, so it is
//! the same to the bit whatever rows and columns stand beside it.

#![cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "vectors are loaded from and stored to pointers")
)]

use std::sync::LazyLock;

use crate::panels::COLUMNS;
use crate::strips::{Product, Rows, Strips};

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
    let Some(product) = Product::new(rows, strips, out, stride) else { return };
    match vectors {
        Vectors::None => product.portable(0.0, |sum, value, weight| value.mul_add(weight, sum)),
        // SAFETY: `detect` found the instructions.
        #[cfg(target_arch = "x86_64")]
        Vectors::Fma => unsafe { x86::fma(product) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Vectors::Avx512 => unsafe { x86::avx512(product) },
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m256, __m512, _mm256_broadcast_ss, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_setzero_ps,
        _mm256_storeu_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_set1_ps, _mm512_setzero_ps,
        _mm512_storeu_ps,
    };

    use crate::strips::{Product, Vectors};

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn fma(product: Product<'_, f32, f32>) {
        // SAFETY: the instructions of these vectors are enabled here.
        unsafe { product.vectors::<Fma>() }
    }

    #[target_feature(enable = "avx512f")]
    pub(super) fn avx512(product: Product<'_, f32, f32>) {
        // SAFETY: the instructions of these vectors are enabled here.
        unsafe { product.vectors::<Avx512>() }
    }

    /// Two vectors of 256 bits a strip: the sums of six rows take twelve of sixteen registers.
    struct Fma;

    impl Vectors for Fma {
        type Value = f32;
        type Sum = f32;
        type Weights = [__m256; 2];
        type Sums = [__m256; 2];
        const HEIGHT: usize = 6;
        const STRIPS: usize = 1;

        #[inline(always)]
        unsafe fn zero() -> Self::Sums {
            // SAFETY: the caller's promise.
            unsafe { [_mm256_setzero_ps(); 2] }
        }

        #[inline(always)]
        unsafe fn load(weights: *const f32) -> Self::Weights {
            // SAFETY: the caller's promise.
            unsafe { [_mm256_loadu_ps(weights), _mm256_loadu_ps(weights.add(8))] }
        }

        #[inline(always)]
        unsafe fn add([a, b]: Self::Sums, value: *const f32, weights: Self::Weights) -> Self::Sums {
            // SAFETY: the caller's promise.
            unsafe {
                let value = _mm256_broadcast_ss(&*value);
                [_mm256_fmadd_ps(value, weights[0], a), _mm256_fmadd_ps(value, weights[1], b)]
            }
        }

        #[inline(always)]
        unsafe fn store([a, b]: Self::Sums, out: *mut f32) {
            // SAFETY: the caller's promise.
            unsafe {
                _mm256_storeu_ps(out, a);
                _mm256_storeu_ps(out.add(8), b);
            }
        }
    }

    /// A vector of 512 bits a strip: the sums of twelve rows with two strips take 24 of 32 registers.
    struct Avx512;

    impl Vectors for Avx512 {
        type Value = f32;
        type Sum = f32;
        type Weights = __m512;
        type Sums = __m512;
        const HEIGHT: usize = 12;
        const STRIPS: usize = 2;

        #[inline(always)]
        unsafe fn zero() -> Self::Sums {
            // SAFETY: the caller's promise.
            unsafe { _mm512_setzero_ps() }
        }

        #[inline(always)]
        unsafe fn load(weights: *const f32) -> Self::Weights {
            // SAFETY: the caller's promise.
            unsafe { _mm512_loadu_ps(weights) }
        }

        #[inline(always)]
        unsafe fn add(sums: Self::Sums, value: *const f32, weights: Self::Weights) -> Self::Sums {
            // SAFETY: the caller's promise.
            unsafe { _mm512_fmadd_ps(_mm512_set1_ps(*value), weights, sums) }
        }

        #[inline(always)]
        unsafe fn store(sums: Self::Sums, out: *mut f32) {
            // SAFETY: the caller's promise.
            unsafe { _mm512_storeu_ps(out, sums) }
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
