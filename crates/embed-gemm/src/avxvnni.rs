//! Products by AVX-VNNI: `vpdpbusd` adds four products of a byte with a weight to a sum of 32 bits.
//!
//! A tile has six rows and one panel: twelve registers of sums, since the instruction takes five cycles and two begin in each.

#![expect(unsafe_code, reason = "vectors are loaded from and stored to pointers")]

use std::arch::x86_64::{
    __m256i, _MM_HINT_T0, _mm_prefetch, _mm256_dpbusd_avx_epi32, _mm256_loadu_si256, _mm256_set1_epi32,
    _mm256_setzero_si256, _mm256_storeu_si256,
};

use crate::panels::{COLUMNS, QUAD};
use crate::product::{Pointers, Product, Tile, heights};

/// Rows of a tile.
const HEIGHT: usize = 6;

/// Columns of half a panel: the sums in a register.
const HALF: usize = COLUMNS / 2;

/// All sums of the product. A panel stays in L1 while the rows pass by it.
#[target_feature(enable = "avx2,avxvnni")]
pub(crate) fn sums(mut product: Product<'_>) {
    for panel in 0..product.panels() {
        for (row, height) in heights(product.height(), HEIGHT) {
            let tile = product.tile(row, height, panel, 1);
            match height {
                1 => rows::<1>(tile),
                2 => rows::<2>(tile),
                3 => rows::<3>(tile),
                4 => rows::<4>(tile),
                5 => rows::<5>(tile),
                _ => rows::<HEIGHT>(tile),
            }
        }
    }
}

/// A tile of so many rows.
#[target_feature(enable = "avx2,avxvnni")]
fn rows<const ROWS: usize>(mut tile: Tile<'_>) {
    let Pointers { rows, depth, panels, sums, width } = tile.pointers(ROWS, 1);
    let mut totals = [[_mm256_setzero_si256(); 2]; ROWS];
    for quad in 0..depth / QUAD {
        // SAFETY: the panel has `depth / QUAD` quads of `QUAD · COLUMNS` bytes, twice the length of a register.
        let weights = unsafe {
            let weights = panels.add(quad * QUAD * COLUMNS).cast::<__m256i>();
            [_mm256_loadu_si256(weights), _mm256_loadu_si256(weights.add(1))]
        };
        // The weights of the next panel are fetched meanwhile. It reads nothing, so there need be no next panel.
        _mm_prefetch::<_MM_HINT_T0>(panels.wrapping_add((depth + quad * QUAD) * COLUMNS));
        for (row, totals) in totals.iter_mut().enumerate() {
            // SAFETY: there are `ROWS` rows of `depth` bytes, `QUAD` of which are an `i32`.
            let bytes = unsafe { rows.add(row * depth + quad * QUAD).cast::<i32>().read_unaligned() };
            let bytes = _mm256_set1_epi32(bytes);
            for (total, weights) in totals.iter_mut().zip(weights) {
                *total = _mm256_dpbusd_avx_epi32(*total, bytes, weights);
            }
        }
    }
    for (row, totals) in totals.into_iter().enumerate() {
        for (half, totals) in totals.into_iter().enumerate() {
            // SAFETY: each of the `ROWS` rows has `COLUMNS` sums from `row · width` on, and the tile borrows them mutably.
            unsafe { _mm256_storeu_si256(sums.add(row * width + half * HALF).cast(), totals) };
        }
    }
}
