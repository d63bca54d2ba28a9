//! Linear layers: a product, whose scales and bias are applied while its sums are in the cache.

use std::ops::Range;

use embed_gemm::Rows as StridedRows;
use embed_gemm::{Gemm, Strips};

use crate::lanes::{LANES, UnfitLength, exactly};
use crate::rows::Rows;
use crate::weights::{Kind, Weights};

/// Rows whose sums are computed together, and outputs. As 32-bit sums they take 18 KB, which stays in a core's first cache.
const ROWS: usize = 48;
const COLUMNS: usize = 96;

/// The constants of a linear layer that its product doesn't include.
///
/// A row in 8 bits is `low + scale · u`, a column `scale · w`, so their product is
/// `scale_row · scale_column · Σ u·w + low · scale_column · Σ w`. The second sum is known beforehand.
#[derive(Debug, Clone)]
pub struct Linear {
    bias: Vec<f32>,
    /// For weights in 8 or 16 bits: the scale of each column.
    scales: Vec<f32>,
    /// For 8-bit weights: the sum of each column times its scale.
    sums: Vec<f32>,
}

impl Linear {
    /// A layer in single precision.
    ///
    /// # Errors
    ///
    /// If its width is no multiple of [`LANES`](crate::LANES).
    pub fn single(bias: &[f32]) -> Result<Self, UnfitLength> {
        let bias = exactly("a bias", bias, bias.len())?;
        Ok(Self { bias, scales: Vec::new(), sums: Vec::new() })
    }

    /// A layer with 16-bit weights.
    ///
    /// # Errors
    ///
    /// If the widths differ or are no multiple of [`LANES`](crate::LANES).
    pub fn words(bias: &[f32], scales: &[f32]) -> Result<Self, UnfitLength> {
        let scales = exactly("the scales of columns", scales, bias.len())?;
        Ok(Self { scales, ..Self::single(bias)? })
    }

    /// A layer with 8-bit weights.
    ///
    /// # Errors
    ///
    /// If the widths differ or are no multiple of [`LANES`](crate::LANES).
    pub fn integer(bias: &[f32], scales: &[f32], sums: &[f32]) -> Result<Self, UnfitLength> {
        Ok(Self {
            scales: exactly("the scales of columns", scales, bias.len())?,
            sums: exactly("the sums of columns", sums, bias.len())?,
            bias: exactly("a bias", bias, bias.len())?,
        })
    }

    /// Outputs, which are the values of a row of the product.
    #[must_use]
    pub fn width(&self) -> usize {
        self.bias.len()
    }

    /// What its weights are.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match (self.scales.is_empty(), self.sums.is_empty()) {
            (true, _) => Kind::Single,
            (false, true) => Kind::Words,
            (false, false) => Kind::Integer,
        }
    }

    /// Checks that weights are those of so many inputs.
    pub(crate) fn check(&self, weights: Weights<'_>, inputs: usize) -> Result<(), UnfitLength> {
        let (length, wanted, kind) = match weights {
            Weights::Single(weights) => (weights.len(), inputs, Kind::Single),
            Weights::Words(weights) => (weights.len(), inputs.next_multiple_of(2), Kind::Words),
            Weights::Integer(weights) => (weights.len(), embed_gemm::padded(inputs), Kind::Integer),
        };
        let fits = kind == self.kind() && length == wanted * self.width();
        fits.then_some(()).ok_or(UnfitLength { what: "weights", length })
    }
}

/// A linear layer over some rows, of which some outputs are wanted.
pub(crate) struct Product<'a> {
    pub(crate) linear: &'a Linear,
    pub(crate) weights: Weights<'a>,
    pub(crate) rows: Rows<'a>,
    pub(crate) outputs: Range<usize>,
}

impl Product<'_> {
    /// Writes the wanted outputs of each row, row after row, and calls `then` with parts of rows as they are written.
    #[inline(always)]
    pub(crate) fn write(self, gemm: Gemm, sums: &mut Vec<i32>, out: &mut [f32], then: impl Fn(&mut [f32])) {
        let Self { linear, weights, rows, outputs } = self;
        let (count, stride) = (rows.count(), outputs.len());
        let all = linear.width();
        for first in (0..count).step_by(ROWS) {
            let rows = rows.part(first..count.min(first + ROWS));
            let out = &mut out[first * stride..][..rows.count() * stride];
            for column in (0..stride).step_by(COLUMNS) {
                let columns = column..stride.min(column + COLUMNS);
                let outputs = outputs.start + columns.start..outputs.start + columns.end;
                let [bias, scales, column_sums] = [&linear.bias, &linear.scales, &linear.sums]
                    .map(|constants| constants.get(outputs.clone()).unwrap_or_default());
                match (rows, weights) {
                    (Rows::Single(values, depth), Weights::Single(panels)) => {
                        let rows = StridedRows { values, stride: depth, count: rows.count(), depth };
                        let strips = Strips {
                            values: &panels[outputs.start * depth..outputs.end * depth],
                            stride: LANES,
                            distance: LANES * depth,
                            count: columns.len() / LANES,
                        };
                        gemm.single(rows, strips, &mut out[column..], stride);
                        for row in out.chunks_exact_mut(stride) {
                            let row = &mut row[columns.clone()];
                            for (value, bias) in row.iter_mut().zip(bias) {
                                *value += bias;
                            }
                            then(row);
                        }
                    }
                    (Rows::Integer(bytes, of_rows), Weights::Integer(panels)) => {
                        let depth = panels.len() / all;
                        let panels = &panels[outputs.start * depth..outputs.end * depth];
                        sums.resize(of_rows.len() * columns.len(), 0);
                        gemm.sums(bytes, depth, panels, sums);
                        let sums = sums.chunks_exact(columns.len());
                        for ((row, sums), [scale, low]) in out.chunks_exact_mut(stride).zip(sums).zip(of_rows)
                        {
                            let row = &mut row[columns.clone()];
                            let constants = scales.iter().zip(column_sums).zip(bias);
                            for ((value, sum), ((of_column, column_sum), bias)) in
                                row.iter_mut().zip(sums).zip(constants)
                            {
                                let low = low.mul_add(*column_sum, *bias);
                                *value = (*sum as f32 * scale).mul_add(*of_column, low);
                            }
                            then(row);
                        }
                    }
                    (Rows::Words(pairs, of_rows), Weights::Words(panels)) => {
                        let (panels, _) = panels.as_chunks::<2>();
                        let depth = panels.len() / all;
                        let rows = StridedRows { values: pairs, stride: depth, count: of_rows.len(), depth };
                        let strips = Strips {
                            values: &panels[outputs.start * depth..outputs.end * depth],
                            stride: LANES,
                            distance: LANES * depth,
                            count: columns.len() / LANES,
                        };
                        sums.resize(of_rows.len() * columns.len(), 0);
                        gemm.words(rows, strips, sums, columns.len());
                        let sums = sums.chunks_exact(columns.len());
                        for ((row, sums), [scale, _]) in out.chunks_exact_mut(stride).zip(sums).zip(of_rows) {
                            let row = &mut row[columns.clone()];
                            for ((value, sum), (of_column, bias)) in
                                row.iter_mut().zip(sums).zip(scales.iter().zip(bias))
                            {
                                *value = (*sum as f32 * scale).mul_add(*of_column, *bias);
                            }
                            then(row);
                        }
                    }
                    // Both were checked: see `Linear::check`.
                    _ => {}
                }
            }
        }
    }
}
