//! The weights of a linear layer, packed as products take them.

use crate::lanes::{LANES, UnfitLength};

/// The length of a column of 16-bit weights in steps, as the root of the sum of squares: with that of a
/// [row](crate::rows::ROW_LENGTH) no sum of their products exceeds 31 bits, nor does a part of one.
const COLUMN_LENGTH: f64 = 65_000.0;

/// What the numbers of a product are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    /// Single precision.
    #[default]
    Single,
    /// Whole numbers of 16 bits.
    Words,
    /// Whole numbers of 8 bits.
    Integer,
}

/// Packed weights, of any kind.
#[derive(Debug, Clone, Copy)]
pub enum Weights<'a> {
    /// In single precision, by [`pack_single`].
    Single(&'a [f32]),
    /// In 8 bits, by [`pack_integer`].
    Integer(&'a [i8]),
    /// In 16 bits, by [`pack_words`].
    Words(&'a [i16]),
}

/// Weights in 16 bits.
#[derive(Debug, Clone, PartialEq)]
pub struct Words {
    /// The packed weights.
    pub packed: Vec<i16>,
    /// The scale of each output.
    pub scales: Vec<f32>,
}

/// Packs 8-bit weights `[inputs, outputs]`, row after row, for products: the same bytes on every processor.
///
/// # Errors
///
/// If the outputs are no multiple of [`LANES`], or the weights aren't whole rows.
pub fn pack_integer(weights: &[i8], outputs: usize) -> Result<Vec<i8>, UnfitLength> {
    whole(weights.len(), outputs)?;
    Ok(embed_gemm::pack(weights, outputs))
}

/// Packs single-precision weights `[inputs, outputs]`, row after row, for products: for every [`LANES`] outputs in turn,
/// their weights of all inputs.
///
/// # Errors
///
/// If the outputs are no multiple of [`LANES`], or the weights aren't whole rows.
pub fn pack_single(weights: &[f32], outputs: usize) -> Result<Vec<f32>, UnfitLength> {
    whole(weights.len(), outputs)?;
    let panel = |first: usize| {
        weights.chunks_exact(outputs).flat_map(move |row| row[first..first + LANES].iter().copied())
    };
    Ok((0..outputs).step_by(LANES).flat_map(panel).collect())
}

/// Rounds weights `[inputs, outputs]`, row after row, to 16 bits with a scale for each output, and packs them for products:
/// for every [`LANES`] outputs in turn, their weights of the first two inputs side by side, then of the next two.
///
/// # Errors
///
/// If the outputs are no multiple of [`LANES`], or the weights aren't an even number of whole rows.
pub fn pack_words(weights: &[f32], outputs: usize) -> Result<Words, UnfitLength> {
    whole(weights.len(), outputs)?;
    whole(weights.len(), 2 * outputs)?;
    let scale = |output: usize| {
        let column = || weights[output..].iter().step_by(outputs).map(|&weight| f64::from(weight));
        let length = column().map(|weight| weight * weight).sum::<f64>().sqrt() / COLUMN_LENGTH;
        let largest =
            column().fold(0.0_f64, |largest, weight| largest.max(weight.abs())) / f64::from(i16::MAX);
        let scale = length.max(largest) as f32;
        if scale.is_normal() { scale } else { 1.0 }
    };
    let scales: Vec<f32> = (0..outputs).map(scale).collect();
    let nearest = |weight: f32, scale: f32| (f64::from(weight) / f64::from(scale)).round_ties_even() as i16;
    let mut packed = Vec::with_capacity(weights.len());
    for first in (0..outputs).step_by(LANES) {
        for rows in weights.chunks_exact(2 * outputs) {
            for output in first..first + LANES {
                packed.extend([0, outputs].map(|row| nearest(rows[row + output], scales[output])));
            }
        }
    }
    Ok(Words { packed, scales })
}

/// Checks that weights are whole rows.
fn whole(length: usize, outputs: usize) -> Result<(), UnfitLength> {
    let fits = outputs > 0 && outputs.is_multiple_of(LANES) && length.is_multiple_of(outputs);
    fits.then_some(()).ok_or(UnfitLength { what: "weights", length })
}
