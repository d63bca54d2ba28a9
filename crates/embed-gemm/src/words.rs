//! Products of 16-bit numbers, two inputs at a time, and their exact 32-bit sums.

#![expect(unsafe_code, reason = "instructions are called where they were detected")]

use crate::instructions::Instructions;
use crate::panels::COLUMNS;
use crate::strips::{Product, Rows, Strips};

/// Two inputs of a row, or of an output.
pub type Pair = [i16; 2];

/// The products: `out[row, column]`, in rows of `stride` values.
///
/// # Safety
///
/// The processor and the system have the instructions.
///
/// # Panics
///
/// If a slice is too short.
pub(crate) unsafe fn product(
    instructions: Instructions,
    rows: Rows<'_, Pair>,
    strips: Strips<'_, Pair>,
    out: &mut [i32],
    stride: usize,
) {
    let Some(product) = Product::new(rows, strips, out, stride) else { return };
    match instructions {
        // SAFETY of the three: the caller promises that the instructions are there.
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx2 => unsafe { x86::avx2(product) },
        #[cfg(target_arch = "x86_64")]
        Instructions::AvxVnni => unsafe { x86::avxvnni(product) },
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx512 | Instructions::Amx => unsafe { x86::avx512(product) },
        _ => product.portable(0, |sum, [a, b]: Pair, [c, d]: Pair| {
            let [a, b, c, d] = [a, b, c, d].map(i32::from);
            (a * c).wrapping_add(b * d).wrapping_add(sum)
        }),
    }
}

/// Whether instructions give the sums of plain Rust, tried over all heights of tiles before they are used.
///
/// # Safety
///
/// The processor and the system have the instructions.
pub(crate) unsafe fn hold(instructions: Instructions) -> bool {
    const ROWS: usize = 29;
    const DEPTH: usize = 9;
    let numbers = |count: usize| -> Vec<Pair> {
        (0..2 * count as i32)
            .step_by(2)
            .map(|at| [at, at + 1].map(|at| (at * 7919 % 8191 - 4095) as i16))
            .collect()
    };
    let (values, weights) = (numbers(ROWS * DEPTH), numbers(3 * DEPTH * COLUMNS));
    (1..=ROWS).all(|count| {
        let rows = Rows { values: &values, stride: DEPTH, count, depth: DEPTH };
        let strips = Strips { values: &weights, stride: COLUMNS, distance: DEPTH * COLUMNS, count: 3 };
        let [found, wanted] = [instructions, Instructions::Portable].map(|instructions| {
            let mut out = vec![i32::MIN; count * 3 * COLUMNS];
            // SAFETY: the caller's promise; plain Rust needs nothing.
            unsafe { product(instructions, rows, strips, &mut out, 3 * COLUMNS) };
            out
        });
        found == wanted
    })
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m256i, __m512i, _mm256_add_epi32, _mm256_dpwssd_avx_epi32, _mm256_loadu_si256, _mm256_madd_epi16,
        _mm256_set1_epi32, _mm256_setzero_si256, _mm256_storeu_si256, _mm512_dpwssd_epi32,
        _mm512_loadu_si512, _mm512_set1_epi32, _mm512_setzero_si512, _mm512_storeu_si512,
    };

    use super::Pair;
    use crate::strips::{Product, Vectors};

    #[target_feature(enable = "avx2")]
    pub(super) fn avx2(product: Product<'_, Pair, i32>) {
        // SAFETY: the instructions of these vectors are enabled here.
        unsafe { product.vectors::<Avx2<false>>() }
    }

    #[target_feature(enable = "avx2,avxvnni")]
    pub(super) fn avxvnni(product: Product<'_, Pair, i32>) {
        // SAFETY: the instructions of these vectors are enabled here.
        unsafe { product.vectors::<Avx2<true>>() }
    }

    #[target_feature(enable = "avx512f,avx512vnni")]
    pub(super) fn avx512(product: Product<'_, Pair, i32>) {
        // SAFETY: the instructions of these vectors are enabled here.
        unsafe { product.vectors::<Avx512>() }
    }

    /// Two vectors of 256 bits a strip: the sums of six rows take twelve of sixteen registers. With VNNI one instruction
    /// multiplies and adds.
    struct Avx2<const VNNI: bool>;

    // SAFETY of each block: the caller's promise.
    impl<const VNNI: bool> Vectors for Avx2<VNNI> {
        type Value = Pair;
        type Sum = i32;
        type Weights = [__m256i; 2];
        type Sums = [__m256i; 2];
        const HEIGHT: usize = 6;
        const STRIPS: usize = 1;

        #[inline(always)]
        unsafe fn zero() -> Self::Sums {
            unsafe { [_mm256_setzero_si256(); 2] }
        }

        #[inline(always)]
        unsafe fn load(weights: *const Pair) -> Self::Weights {
            let weights = weights.cast::<__m256i>();
            unsafe { [_mm256_loadu_si256(weights), _mm256_loadu_si256(weights.add(1))] }
        }

        #[inline(always)]
        unsafe fn add(mut sums: Self::Sums, value: *const Pair, weights: Self::Weights) -> Self::Sums {
            unsafe {
                let value = _mm256_set1_epi32(value.cast::<i32>().read_unaligned());
                for (sum, weights) in sums.iter_mut().zip(weights) {
                    *sum = if VNNI {
                        _mm256_dpwssd_avx_epi32(*sum, value, weights)
                    } else {
                        _mm256_add_epi32(*sum, _mm256_madd_epi16(value, weights))
                    };
                }
            }
            sums
        }

        #[inline(always)]
        unsafe fn store([a, b]: Self::Sums, out: *mut i32) {
            let out = out.cast::<__m256i>();
            unsafe {
                _mm256_storeu_si256(out, a);
                _mm256_storeu_si256(out.add(1), b);
            }
        }
    }

    /// A vector of 512 bits a strip: the sums of twelve rows with two strips take 24 of 32 registers.
    struct Avx512;

    // SAFETY of each block: the caller's promise.
    impl Vectors for Avx512 {
        type Value = Pair;
        type Sum = i32;
        type Weights = __m512i;
        type Sums = __m512i;
        const HEIGHT: usize = 12;
        const STRIPS: usize = 2;

        #[inline(always)]
        unsafe fn zero() -> Self::Sums {
            unsafe { _mm512_setzero_si512() }
        }

        #[inline(always)]
        unsafe fn load(weights: *const Pair) -> Self::Weights {
            unsafe { _mm512_loadu_si512(weights.cast()) }
        }

        #[inline(always)]
        unsafe fn add(sums: Self::Sums, value: *const Pair, weights: Self::Weights) -> Self::Sums {
            unsafe {
                let value = _mm512_set1_epi32(value.cast::<i32>().read_unaligned());
                _mm512_dpwssd_epi32(sums, value, weights)
            }
        }

        #[inline(always)]
        unsafe fn store(sums: Self::Sums, out: *mut i32) {
            unsafe { _mm512_storeu_si512(out.cast(), sums) }
        }
    }
}
