//! Products of 16-bit numbers, two inputs at a time, and their exact 32-bit sums.

#![cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "vectors are loaded from and stored to pointers")
)]

use crate::panels::COLUMNS;
use crate::strips::{Product, Rows, Strips};

/// Two inputs of a row, or of an output.
pub type Pair = [i16; 2];

/// All sums of a product in plain Rust.
pub(crate) fn portable(product: Product<'_, Pair, i32>) {
    product.portable(0, |sum, [a, b]: Pair, [c, d]: Pair| {
        let [a, b, c, d] = [a, b, c, d].map(i32::from);
        (a * c).wrapping_add(b * d).wrapping_add(sum)
    });
}

/// Whether a path has the same sums as plain Rust, tried over all heights of tiles before it is used.
pub(crate) fn hold(sums: impl Fn(Product<'_, Pair, i32>)) -> bool {
    const ROWS: usize = 29;
    const DEPTH: usize = 9;
    const STRIPS: usize = 3;
    let numbers = |count: usize| -> Vec<Pair> {
        let number = |at: usize| (at * 7919 % 8191) as i16 - 4095;
        (0..count).map(|at| [number(2 * at), number(2 * at + 1)]).collect()
    };
    let (values, weights) = (numbers(ROWS * DEPTH), numbers(STRIPS * DEPTH * COLUMNS));
    (1..=ROWS).all(|count| {
        let rows = Rows { values: &values, stride: DEPTH, count, depth: DEPTH };
        let strips = Strips { values: &weights, stride: COLUMNS, distance: DEPTH * COLUMNS, count: STRIPS };
        let [mut found, mut wanted] = [0, 1].map(|_| vec![i32::MIN; count * STRIPS * COLUMNS]);
        Product::new(rows, strips, &mut found, STRIPS * COLUMNS).into_iter().for_each(&sums);
        Product::new(rows, strips, &mut wanted, STRIPS * COLUMNS).into_iter().for_each(portable);
        found == wanted
    })
}

#[cfg(target_arch = "x86_64")]
pub(crate) mod x86 {
    use std::arch::x86_64::{
        __m256i, __m512i, _mm256_add_epi32, _mm256_dpwssd_avx_epi32, _mm256_loadu_si256, _mm256_madd_epi16,
        _mm256_set1_epi32, _mm256_setzero_si256, _mm256_storeu_si256, _mm512_dpwssd_epi32,
        _mm512_loadu_si512, _mm512_set1_epi32, _mm512_setzero_si512, _mm512_storeu_si512,
    };

    use crate::strips::{Product, Vectors};
    use crate::words::Pair;

    #[target_feature(enable = "avx2")]
    pub(crate) fn avx2(product: Product<'_, Pair, i32>) {
        // SAFETY: the instructions of these vectors are enabled here.
        unsafe { product.vectors::<Avx2<false>>() }
    }

    #[target_feature(enable = "avx2,avxvnni")]
    pub(crate) fn avxvnni(product: Product<'_, Pair, i32>) {
        // SAFETY: the instructions of these vectors are enabled here.
        unsafe { product.vectors::<Avx2<true>>() }
    }

    #[target_feature(enable = "avx512f,avx512vnni")]
    pub(crate) fn avx512(product: Product<'_, Pair, i32>) {
        // SAFETY: the instructions of these vectors are enabled here.
        unsafe { product.vectors::<Avx512>() }
    }

    /// Two vectors of 256 bits a strip: the sums of six rows take twelve of sixteen registers. With VNNI one instruction
    /// multiplies and adds.
    struct Avx2<const VNNI: bool>;

    impl<const VNNI: bool> Vectors for Avx2<VNNI> {
        type Value = Pair;
        type Sum = i32;
        type Weights = [__m256i; 2];
        type Sums = [__m256i; 2];
        const HEIGHT: usize = 6;
        const STRIPS: usize = 1;

        #[inline(always)]
        unsafe fn zero() -> Self::Sums {
            // SAFETY: the caller's promise.
            unsafe { [_mm256_setzero_si256(); 2] }
        }

        #[inline(always)]
        unsafe fn load(weights: *const Pair) -> Self::Weights {
            let weights = weights.cast::<__m256i>();
            // SAFETY: the caller's promise.
            unsafe { [_mm256_loadu_si256(weights), _mm256_loadu_si256(weights.add(1))] }
        }

        #[inline(always)]
        unsafe fn add(mut sums: Self::Sums, value: *const Pair, weights: Self::Weights) -> Self::Sums {
            // SAFETY: the caller's promise.
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
            // SAFETY: the caller's promise.
            unsafe {
                _mm256_storeu_si256(out, a);
                _mm256_storeu_si256(out.add(1), b);
            }
        }
    }

    /// A vector of 512 bits a strip: the sums of twelve rows with two strips take 24 of 32 registers.
    struct Avx512;

    impl Vectors for Avx512 {
        type Value = Pair;
        type Sum = i32;
        type Weights = __m512i;
        type Sums = __m512i;
        const HEIGHT: usize = 12;
        const STRIPS: usize = 2;

        #[inline(always)]
        unsafe fn zero() -> Self::Sums {
            // SAFETY: the caller's promise.
            unsafe { _mm512_setzero_si512() }
        }

        #[inline(always)]
        unsafe fn load(weights: *const Pair) -> Self::Weights {
            // SAFETY: the caller's promise.
            unsafe { _mm512_loadu_si512(weights.cast()) }
        }

        #[inline(always)]
        unsafe fn add(sums: Self::Sums, value: *const Pair, weights: Self::Weights) -> Self::Sums {
            // SAFETY: the caller's promise.
            unsafe {
                let value = _mm512_set1_epi32(value.cast::<i32>().read_unaligned());
                _mm512_dpwssd_epi32(sums, value, weights)
            }
        }

        #[inline(always)]
        unsafe fn store(sums: Self::Sums, out: *mut i32) {
            // SAFETY: the caller's promise.
            unsafe { _mm512_storeu_si512(out.cast(), sums) }
        }
    }
}
