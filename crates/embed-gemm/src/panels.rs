//! The layout of weights that every path reads.
//!
//! A panel has [`COLUMNS`] outputs. Within it, four inputs at a time stand side by side: the bytes of inputs 0 to 3 of
//! output 0, then of output 1, and so on; then inputs 4 to 7. That is what `vpdpbusd` and a tile of AMX take as they are. The
//! inputs are padded with zeros to a multiple of [`DEPTH`], the depth of a tile.

/// Outputs of a panel.
pub const COLUMNS: usize = 16;

/// Inputs are padded to a multiple of this.
pub const DEPTH: usize = 64;

/// Inputs whose bytes stand side by side.
pub(crate) const QUAD: usize = 4;

/// The length of a row of so many inputs, padded: rows of bytes must have it, and so do the panels.
#[must_use]
pub const fn padded(inputs: usize) -> usize {
    inputs.next_multiple_of(DEPTH)
}

/// Panels of the weights `[inputs, outputs]`, row after row: `padded(inputs) · outputs` bytes.
///
/// # Panics
///
/// If the outputs aren't a multiple of [`COLUMNS`], or the weights aren't whole rows.
#[must_use]
pub fn pack(weights: &[i8], outputs: usize) -> Vec<i8> {
    assert!(outputs.is_multiple_of(COLUMNS) && outputs > 0 && weights.len().is_multiple_of(outputs));
    let depth = padded(weights.len() / outputs);
    let mut panels = vec![0; depth * outputs];
    for (input, row) in weights.chunks_exact(outputs).enumerate() {
        for (output, &weight) in row.iter().enumerate() {
            let panel = output / COLUMNS * COLUMNS * depth;
            let place = input / QUAD * QUAD * COLUMNS + output % COLUMNS * QUAD + input % QUAD;
            panels[panel + place] = weight;
        }
    }
    panels
}
