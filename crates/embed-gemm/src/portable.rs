//! Products in plain Rust: what the others are tested against.

use crate::panels::{COLUMNS, QUAD};
use crate::product::Product;

/// All sums of the product.
pub(crate) fn sums(mut product: Product<'_>) {
    for panel in 0..product.panels() {
        for row in 0..product.height() {
            let (bytes, weights, sums) = product.tile(row, 1, panel, 1).slices();
            let mut totals = [0_i32; COLUMNS];
            let quads = bytes.as_chunks::<QUAD>().0.iter().zip(weights.chunks_exact(QUAD * COLUMNS));
            for (bytes, weights) in quads {
                for (total, weights) in totals.iter_mut().zip(weights.as_chunks::<QUAD>().0) {
                    for (&byte, &weight) in bytes.iter().zip(weights) {
                        *total += i32::from(byte) * i32::from(weight);
                    }
                }
            }
            sums.copy_from_slice(&totals);
        }
    }
}
