//! Weights in fewer bits: 8-bit matrices with one scale for each output, and the forms of the word table.

use crate::weights::{LinearLayer, Matrix};

/// The largest value of a symmetric 8-bit number. −128 stays unused, so that a number and its negative are equally
/// exact.
const LARGEST: f32 = 127.0;

/// A dense matrix in the order that ONNX multiplies by: one row for each input.
pub(super) struct Dense {
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    pub(super) values: Vec<f32>,
    pub(super) bias: Vec<f32>,
}

impl Dense {
    /// Several linear layers with the same input, side by side, each multiplied by a number.
    pub(super) fn side_by_side(parts: &[(&LinearLayer, f32)]) -> Self {
        let inputs = parts.first().map_or(0, |(part, _)| part.weight.columns());
        let outputs = parts.iter().map(|(part, _)| part.weight.rows()).sum();
        let mut values = vec![0.0; inputs * outputs];
        let mut row = vec![0.0; inputs];
        let mut bias = Vec::with_capacity(outputs);
        for &(part, factor) in parts {
            for output in 0..part.weight.rows() {
                part.weight.read_row(output, &mut row);
                let column = values.iter_mut().skip(bias.len()).step_by(outputs);
                for (to, from) in column.zip(&row) {
                    *to = from * factor;
                }
                bias.push(part.bias.get(output).copied().unwrap_or_default() * factor);
            }
        }
        Self { inputs, outputs, values, bias }
    }

    /// Multiplies the weights of each input by two to the power of its exponent, which is exact.
    pub(super) fn scale_inputs(&mut self, exponents: &[i8]) {
        for (row, &exponent) in self.values.chunks_exact_mut(self.outputs).zip(exponents) {
            let factor = power_of_two(exponent);
            row.iter_mut().for_each(|value| *value *= factor);
        }
    }

    /// The matrix of these outputs, in this order.
    pub(super) fn columns(&self, columns: &[usize]) -> Self {
        let rows = self.values.chunks_exact(self.outputs);
        Self {
            inputs: self.inputs,
            outputs: columns.len(),
            values: rows.flat_map(|row| columns.iter().map(|&column| row[column])).collect(),
            bias: columns.iter().map(|&column| self.bias[column]).collect(),
        }
    }

    /// The matrix without the outputs for which `drop` is true, and the matrix of only those.
    pub(super) fn part_outputs(&self, drop: &[bool]) -> (Self, Self) {
        let part = |wanted: bool| {
            let columns: Vec<_> = (0..self.outputs).filter(|&output| drop[output] == wanted).collect();
            self.columns(&columns)
        };
        (part(false), part(true))
    }

    /// The matrix without the inputs for which `drop` is true, and the matrix of only those. The second one has no bias,
    /// because its product is added to the first one's.
    pub(super) fn part_inputs(&self, drop: &[bool]) -> (Self, Self) {
        let part = |wanted: bool, bias: Vec<f32>| {
            let rows = self.values.chunks_exact(self.outputs).zip(drop);
            let kept: Vec<&[f32]> = rows.filter(|&(_, &drop)| drop == wanted).map(|(row, _)| row).collect();
            Self { inputs: kept.len(), outputs: self.outputs, values: kept.concat(), bias }
        };
        (part(false, self.bias.clone()), part(true, Vec::new()))
    }

    /// Symmetric 8-bit weights with a scale for each output.
    pub(super) fn quantise(&self) -> Quantised {
        let mut scales = vec![0.0_f32; self.outputs];
        for row in self.values.chunks_exact(self.outputs) {
            for (largest, value) in scales.iter_mut().zip(row) {
                *largest = largest.max(value.abs());
            }
        }
        for scale in &mut scales {
            *scale = scale_of(*scale);
        }
        let mut sums = vec![0_i32; self.outputs];
        let mut values = Vec::with_capacity(self.values.len());
        for row in self.values.chunks_exact(self.outputs) {
            for ((value, scale), sum) in row.iter().zip(&scales).zip(&mut sums) {
                let nearest = to_i8(*value, *scale);
                *sum += i32::from(nearest);
                values.push(nearest);
            }
        }
        let sums = sums.iter().zip(&scales).map(|(&sum, scale)| sum as f32 * scale).collect();
        Quantised { values, scales, sums }
    }

    /// The values output after output.
    pub(super) fn by_output(&self) -> Vec<f32> {
        let column = |output| self.values.iter().skip(output).step_by(self.outputs).copied();
        (0..self.outputs).flat_map(column).collect()
    }
}

/// A matrix in 8 bits.
pub(super) struct Quantised {
    pub(super) values: Vec<i8>,
    /// Of each output.
    pub(super) scales: Vec<f32>,
    /// The sum of the weights of each output, times its scale.
    pub(super) sums: Vec<f32>,
}

/// Two to the power of an exponent.
pub(super) fn power_of_two(exponent: i8) -> f32 {
    // Doubling and halving are exact; `exp2` of the system's library need not be. Of all i8 exponents only −127 and −128
    // give subnormal numbers, and these are exact, too.
    let base = if exponent < 0 { 0.5 } else { 2.0_f32 };
    (0..exponent.unsigned_abs()).fold(1.0, |product, _| product * base)
}

/// The rows of a table in 8 bits, and the scale of each row. A scale for each row loses least, because a word's weight in
/// the sum of the embeddings depends on its own largest number.
pub(super) fn rows_in_8_bits(table: &Matrix) -> (impl Iterator<Item = Vec<u8>>, Vec<f32>) {
    let mut row = vec![0.0; table.columns()];
    let scales: Vec<f32> = (0..table.rows())
        .map(|index| {
            table.read_row(index, &mut row);
            scale_of(row.iter().fold(0.0, |largest, value| value.abs().max(largest)))
        })
        .collect();
    let of_rows = scales.clone();
    let bytes = of_rows.into_iter().enumerate().map(move |(index, scale)| {
        table.read_row(index, &mut row);
        row.iter().map(|&value| to_i8(value, scale).cast_unsigned()).collect()
    });
    (bytes, scales)
}

/// The scale that maps the largest magnitude to the largest 8-bit number; for zeros any scale will do.
fn scale_of(magnitude: f32) -> f32 {
    let scale = magnitude / LARGEST;
    if scale.is_normal() { scale } else { 1.0 }
}

/// The nearest 8-bit number.
fn to_i8(value: f32, scale: f32) -> i8 {
    (value / scale).round_ties_even().clamp(-LARGEST, LARGEST) as i8
}
