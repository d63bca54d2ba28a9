//! Rows as a product takes them: as they are, or in 8 bits, each with its own range.

use std::ops::Range;

use pulp::Simd;

use crate::math::ROUND;
use crate::reduce;

/// The largest byte. With it, two products with 8-bit weights fit 16 bits, in which processors without VNNI add them, so
/// the sums are the same on every processor. An eighth bit would halve the step of the activations.
const LARGEST: f32 = 127.0;

/// How a row was quantised: the width of a step, and the value of byte 0.
pub(crate) type RowScale = [f32; 2];

/// The rows of a product.
#[derive(Clone, Copy)]
pub(crate) enum Rows<'a> {
    /// Rows of this many values.
    Single(&'a [f32], usize),
    /// Rows in 8 bits.
    Integer(&'a [u8], &'a [RowScale]),
}

impl<'a> Rows<'a> {
    /// How many there are.
    pub(crate) fn count(self) -> usize {
        match self {
            Self::Single(values, width) => values.len() / width,
            Self::Integer(_, scales) => scales.len(),
        }
    }

    /// Some of them.
    pub(crate) fn part(self, rows: Range<usize>) -> Self {
        match self {
            Self::Single(values, width) => Self::Single(&values[rows.start * width..rows.end * width], width),
            Self::Integer(bytes, scales) => {
                let depth = bytes.len() / scales.len();
                Self::Integer(&bytes[rows.start * depth..rows.end * depth], &scales[rows])
            }
        }
    }
}

/// Room for rows as bytes from 0 to 127, row after row, and for the scale and lowest value of each row. A value is
/// `low + scale · byte`, at most half a step from the original.
#[derive(Debug, Default)]
pub(crate) struct QuantisedRows {
    bytes: Vec<u8>,
    scales: Vec<RowScale>,
    /// Bytes of a row. Those behind its values are multiplied by zeros.
    depth: usize,
}

impl QuantisedRows {
    /// Makes room for `count` rows of this many values. Old contents stay.
    pub(crate) fn resize(&mut self, count: usize, width: usize) {
        self.depth = embed_gemm::padded(width);
        self.bytes.resize(count * self.depth, 0);
        self.scales.resize(count, [0.0; 2]);
    }

    /// The rows.
    pub(crate) fn rows(&self) -> Rows<'_> {
        Rows::Integer(&self.bytes, &self.scales)
    }

    /// Splits it into pieces of this many rows; the last one may be smaller.
    pub(crate) fn pieces(&mut self, rows: usize) -> impl Iterator<Item = QuantisedPiece<'_>> {
        let depth = self.depth;
        let bytes = self.bytes.chunks_mut(rows * depth);
        bytes.zip(self.scales.chunks_mut(rows)).map(move |(bytes, scales)| QuantisedPiece {
            bytes,
            scales,
            depth,
        })
    }

    /// Writes a row.
    #[inline(always)]
    pub(crate) fn put<S: Simd>(&mut self, simd: S, row: usize, values: &[f32]) {
        let bytes = &mut self.bytes[row * self.depth..][..self.depth];
        self.scales[row] = quantise(simd, values, bytes);
    }
}

/// Room for some of the rows.
pub(crate) struct QuantisedPiece<'a> {
    bytes: &'a mut [u8],
    scales: &'a mut [RowScale],
    depth: usize,
}

impl QuantisedPiece<'_> {
    /// How many rows there is room for.
    pub(crate) fn count(&self) -> usize {
        self.scales.len()
    }

    /// Writes a row.
    #[inline(always)]
    pub(crate) fn put<S: Simd>(&mut self, simd: S, row: usize, values: &[f32]) {
        self.scales[row] = quantise(simd, values, &mut self.bytes[row * self.depth..][..self.depth]);
    }
}

/// Writes the bytes of a row.
#[inline(always)]
fn quantise<S: Simd>(simd: S, values: &[f32], bytes: &mut [u8]) -> RowScale {
    let [low, high] = reduce::range(simd, values);
    let scale = (high - low) / LARGEST;
    // If all values of a row are equal, there are no steps.
    let inverse = if scale.is_normal() { 1.0 / scale } else { 0.0 };
    for (value, byte) in values.iter().zip(bytes) {
        *byte = (value - low).mul_add(inverse, ROUND).to_bits() as u8;
    }
    [scale, low]
}
