//! Products in single precision.

use pulp::Simd;

use crate::lanes::LANES;

/// Rows of a tile. With two vectors of columns its sums fill twelve of sixteen registers.
const ROWS: usize = 6;

/// The products of rows of `depth` values with [packed](crate::pack_single) weights: `out[row, column]`, in rows of `stride`
/// values. A number is summed over the inputs in their order, whatever stands beside it.
#[inline(always)]
pub(crate) fn product<S: Simd>(
    simd: S,
    (rows, depth): (&[f32], usize),
    panels: &[f32],
    (out, stride): (&mut [f32], usize),
) {
    let columns = panels.len() / depth;
    let pair = 2 * S::F32_LANES;
    let mut column = 0;
    while column < columns {
        let pieces = rows.chunks(ROWS * depth).zip(out.chunks_mut(ROWS * stride));
        if column + pair <= columns {
            let weights = [column, column + S::F32_LANES].map(|column| Vectors::new(panels, depth, column));
            for (rows, out) in pieces {
                tiles(simd, (rows, depth), &weights, (out, stride, column));
            }
            column += pair;
        } else {
            let weights = [Vectors::new(panels, depth, column)];
            for (rows, out) in pieces {
                tiles(simd, (rows, depth), &weights, (out, stride, column));
            }
            column += S::F32_LANES;
        }
    }
}

/// The weights of as many columns as a vector has.
#[derive(Clone, Copy)]
struct Vectors<'a> {
    /// For each input the weights of a panel.
    inputs: &'a [[f32; LANES]],
    /// Where in the panel the columns begin.
    first: usize,
}

impl<'a> Vectors<'a> {
    fn new(panels: &'a [f32], depth: usize, column: usize) -> Self {
        let panel = &panels[column / LANES * LANES * depth..][..LANES * depth];
        Self { inputs: panel.as_chunks().0, first: column % LANES }
    }
}

/// A tile of as many rows as there are.
#[inline(always)]
fn tiles<S: Simd, const N: usize>(
    simd: S,
    (rows, depth): (&[f32], usize),
    weights: &[Vectors<'_>; N],
    out: (&mut [f32], usize, usize),
) {
    match rows.len() / depth {
        1 => tile::<S, 1, N>(simd, rows, weights, out),
        2 => tile::<S, 2, N>(simd, rows, weights, out),
        3 => tile::<S, 3, N>(simd, rows, weights, out),
        4 => tile::<S, 4, N>(simd, rows, weights, out),
        5 => tile::<S, 5, N>(simd, rows, weights, out),
        _ => tile::<S, ROWS, N>(simd, rows, weights, out),
    }
}

#[inline(always)]
fn tile<S: Simd, const R: usize, const N: usize>(
    simd: S,
    rows: &[f32],
    weights: &[Vectors<'_>; N],
    (out, stride, column): (&mut [f32], usize, usize),
) {
    let depth = rows.len() / R;
    let rows: [&[f32]; R] = std::array::from_fn(
        #[inline(always)]
        |row| &rows[row * depth..][..depth],
    );
    let inputs: [&[[f32; LANES]]; N] = std::array::from_fn(
        #[inline(always)]
        |vector| &weights[vector].inputs[..depth],
    );
    let mut sums = [[simd.splat_f32s(0.0); N]; R];
    for input in 0..depth {
        let vectors: [S::f32s; N] = std::array::from_fn(
            #[inline(always)]
            |vector| {
                let first = weights[vector].first;
                S::as_simd_f32s(&inputs[vector][input][first..first + S::F32_LANES]).0[0]
            },
        );
        for (sums, row) in sums.iter_mut().zip(&rows) {
            let value = simd.splat_f32s(row[input]);
            for (sum, vector) in sums.iter_mut().zip(&vectors) {
                *sum = simd.mul_add_f32s(value, *vector, *sum);
            }
        }
    }
    for (out, sums) in out.chunks_mut(stride).zip(sums) {
        let out = &mut out[column..column + N * S::F32_LANES];
        S::as_mut_simd_f32s(out).0.copy_from_slice(&sums);
    }
}
