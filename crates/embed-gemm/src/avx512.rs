//! Products by AVX-512 VNNI: `vpdpbusd` adds four products of a byte with a weight to a sum of 32 bits.
//!
//! A register has the sums of a row with a panel. A tile has twelve rows and two panels: 24 registers of sums, two of weights,
//! one of a row's bytes.

#![expect(unsafe_code, reason = "vectors are loaded from and stored to pointers")]

use std::arch::x86_64::{
    __m512i, _MM_HINT_T0, _mm_prefetch, _mm512_dpbusd_epi32, _mm512_loadu_si512, _mm512_set1_epi32,
    _mm512_setzero_si512, _mm512_storeu_si512,
};

use crate::panels::{COLUMNS, QUAD};
use crate::product::{Pointers, Product, Tile, heights};

/// Rows of a tile.
const HEIGHT: usize = 12;

/// Panels of a tile.
const WIDTH: usize = 2;

/// All sums of the product. Two panels stay in L1 while the rows pass by them; with the first rows, the next two are fetched.
/// For a dozen rows the weights would otherwise come too late: nothing else is done with them.
#[target_feature(enable = "avx512f,avx512vnni")]
pub(crate) fn sums(mut product: Product<'_>) {
    let panels = product.panels();
    for panel in (0..panels).step_by(WIDTH) {
        for (row, height) in heights(product.height(), HEIGHT) {
            if panels - panel < WIDTH {
                rows::<1, false>(product.tile(row, height, panel, 1), height);
            } else if row == 0 {
                rows::<WIDTH, true>(product.tile(row, height, panel, WIDTH), height);
            } else {
                rows::<WIDTH, false>(product.tile(row, height, panel, WIDTH), height);
            }
        }
    }
}

/// A tile of so many panels, with the code for its height.
#[target_feature(enable = "avx512f,avx512vnni")]
fn rows<const PANELS: usize, const AHEAD: bool>(tile: Tile<'_>, height: usize) {
    match height {
        1 => cells::<1, PANELS, AHEAD>(tile),
        2 => cells::<2, PANELS, AHEAD>(tile),
        3 => cells::<3, PANELS, AHEAD>(tile),
        4 => cells::<4, PANELS, AHEAD>(tile),
        5 => cells::<5, PANELS, AHEAD>(tile),
        6 => cells::<6, PANELS, AHEAD>(tile),
        7 => cells::<7, PANELS, AHEAD>(tile),
        8 => cells::<8, PANELS, AHEAD>(tile),
        9 => cells::<9, PANELS, AHEAD>(tile),
        10 => cells::<10, PANELS, AHEAD>(tile),
        11 => cells::<11, PANELS, AHEAD>(tile),
        _ => cells::<HEIGHT, PANELS, AHEAD>(tile),
    }
}

/// A tile of so many rows and panels. With `AHEAD` the weights of the next panels are fetched meanwhile.
#[target_feature(enable = "avx512f,avx512vnni")]
fn cells<const ROWS: usize, const PANELS: usize, const AHEAD: bool>(mut tile: Tile<'_>) {
    let Pointers { rows, depth, panels, sums, width } = tile.pointers(ROWS, PANELS);
    let mut totals = [[_mm512_setzero_si512(); PANELS]; ROWS];
    for quad in 0..depth / QUAD {
        let mut weights = [_mm512_setzero_si512(); PANELS];
        for (panel, weights) in weights.iter_mut().enumerate() {
            let place = panel * COLUMNS * depth + quad * QUAD * COLUMNS;
            // SAFETY: each of the `PANELS` panels has `depth / QUAD` quads of `QUAD · COLUMNS` bytes, the length of a register.
            *weights = unsafe { _mm512_loadu_si512(panels.add(place).cast::<__m512i>()) };
            if AHEAD {
                // It reads nothing, so there need be no next panels.
                _mm_prefetch::<_MM_HINT_T0>(panels.wrapping_add(place + PANELS * COLUMNS * depth));
            }
        }
        for (row, totals) in totals.iter_mut().enumerate() {
            // SAFETY: there are `ROWS` rows of `depth` bytes, `QUAD` of which are an `i32`.
            let bytes = unsafe { rows.add(row * depth + quad * QUAD).cast::<i32>().read_unaligned() };
            let bytes = _mm512_set1_epi32(bytes);
            for (total, weights) in totals.iter_mut().zip(weights) {
                *total = _mm512_dpbusd_epi32(*total, bytes, weights);
            }
        }
    }
    for (row, totals) in totals.into_iter().enumerate() {
        for (panel, totals) in totals.into_iter().enumerate() {
            // SAFETY: each of the `ROWS` rows has `COLUMNS` sums for each of the `PANELS` panels from `row · width` on, and the
            // tile borrows them mutably.
            unsafe { _mm512_storeu_si512(sums.add(row * width + panel * COLUMNS).cast(), totals) };
        }
    }
}
