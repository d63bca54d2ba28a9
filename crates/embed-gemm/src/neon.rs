//! Products by NEON with the instructions for dot products (FEAT_DotProd): `sdot` adds four products of signed bytes to a sum of 32
//! bits.
//!
//! Bytes up to 127 are the same signed. A register has four columns of a quad of weights, or four quads of a row, from which `sdot`
//! takes one by its number. A tile has six rows and one panel: 24 registers of sums, six of the rows' bytes, and two for weights.

#![expect(
    unsafe_code,
    reason = "vectors are loaded from and stored to pointers; `sdot` has no stable function"
)]

use std::arch::aarch64::{int8x16_t, int32x4_t, vdupq_n_s8, vdupq_n_s32, vld1q_s8, vst1q_s32};
use std::arch::asm;

use crate::panels::{COLUMNS, QUAD};
use crate::product::{Pointers, Product, Tile, heights};

/// Rows of a tile.
const HEIGHT: usize = 6;

/// Columns of a register of sums or weights, quads of one of a row's bytes.
const LANES: usize = 4;

/// The sums of a row with a panel.
type Totals = [int32x4_t; COLUMNS / LANES];

/// All sums of the product. A panel stays in L1 while the rows pass by it.
#[target_feature(enable = "neon,dotprod")]
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
#[target_feature(enable = "neon,dotprod")]
fn rows<const ROWS: usize>(mut tile: Tile<'_>) {
    let Pointers { rows, depth, panels, sums, width } = tile.pointers(ROWS, 1);
    let mut totals = [[vdupq_n_s32(0); COLUMNS / LANES]; ROWS];
    for first in (0..depth).step_by(LANES * QUAD) {
        let mut bytes = [vdupq_n_s8(0); ROWS];
        for (row, bytes) in bytes.iter_mut().enumerate() {
            // SAFETY: there are `ROWS` rows of `depth` bytes, which is a multiple of the length of a register.
            *bytes = unsafe { vld1q_s8(rows.add(row * depth + first).cast()) };
        }
        // SAFETY: each of the `depth` inputs has `COLUMNS` weights in the panel.
        unsafe {
            let weights = panels.add(first * COLUMNS);
            quad::<0, ROWS>(&mut totals, bytes, weights);
            quad::<1, ROWS>(&mut totals, bytes, weights.add(QUAD * COLUMNS));
            quad::<2, ROWS>(&mut totals, bytes, weights.add(2 * QUAD * COLUMNS));
            quad::<3, ROWS>(&mut totals, bytes, weights.add(3 * QUAD * COLUMNS));
        }
    }
    for (row, totals) in totals.into_iter().enumerate() {
        for (vector, totals) in totals.into_iter().enumerate() {
            // SAFETY: each of the `ROWS` rows has `COLUMNS` sums from `row · width` on, and the tile borrows them mutably.
            unsafe { vst1q_s32(sums.add(row * width + vector * LANES), totals) };
        }
    }
}

/// Adds the products of quad `LANE` of the rows' bytes.
///
/// # Safety
///
/// Here are the `QUAD · COLUMNS` weights of the quad.
#[target_feature(enable = "neon,dotprod")]
#[inline]
unsafe fn quad<const LANE: i32, const ROWS: usize>(
    totals: &mut [Totals; ROWS],
    bytes: [int8x16_t; ROWS],
    weights: *const i8,
) {
    for vector in 0..COLUMNS / LANES {
        // SAFETY: a register holds the quad's weights of `LANES` columns.
        let weights = unsafe { vld1q_s8(weights.add(vector * QUAD * LANES)) };
        for (totals, bytes) in totals.iter_mut().zip(bytes) {
            totals[vector] = dot::<LANE>(totals[vector], weights, bytes);
        }
    }
}

/// Adds to each of four sums four products: of a column's weights with quad `LANE` of the bytes.
#[target_feature(enable = "neon,dotprod")]
#[inline]
fn dot<const LANE: i32>(mut totals: int32x4_t, weights: int8x16_t, bytes: int8x16_t) -> int32x4_t {
    // SAFETY: the instruction is one of `dotprod`. It changes only the register of the sums.
    unsafe {
        asm!(
            "sdot {totals:v}.4s, {weights:v}.16b, {bytes:v}.4b[{lane}]",
            totals = inout(vreg) totals,
            weights = in(vreg) weights,
            bytes = in(vreg) bytes,
            lane = const LANE,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    totals
}
