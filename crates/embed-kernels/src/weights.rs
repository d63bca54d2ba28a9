//! The weights of a linear layer, packed as products take them.

use crate::lanes::{LANES, UnfitLength};

/// Packed weights, of either kind.
#[derive(Debug, Clone, Copy)]
pub enum Weights<'a> {
    /// In single precision, by [`pack_single`].
    Single(&'a [f32]),
    /// In 8 bits, by [`pack_integer`].
    Integer(&'a [i8]),
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

/// Checks that weights are whole rows.
fn whole(length: usize, outputs: usize) -> Result<(), UnfitLength> {
    let fits = outputs > 0 && outputs.is_multiple_of(LANES) && length.is_multiple_of(outputs);
    fits.then_some(()).ok_or(UnfitLength { what: "weights", length })
}
