//! Products in plain Rust: what the others are tested against.

use crate::panels::{COLUMNS, QUAD};

/// See [`Gemm::sums`](crate::Gemm::sums).
pub(crate) fn sums(rows: &[u8], depth: usize, panels: &[i8], sums: &mut [i32]) {
    let width = panels.len() / depth;
    for (row, sums) in rows.chunks_exact(depth).zip(sums.chunks_exact_mut(width)) {
        for (panel, sums) in panels.chunks_exact(depth * COLUMNS).zip(sums.chunks_exact_mut(COLUMNS)) {
            let mut totals = [0_i32; COLUMNS];
            let quads = row.as_chunks::<QUAD>().0.iter().zip(panel.chunks_exact(QUAD * COLUMNS));
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
