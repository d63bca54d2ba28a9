//! Rows in 8 bits, each with its own range.

use pulp::Simd;

use crate::lanes::{LANES, UnfitLength};
use crate::math::ROUND;
use crate::reduce;

/// The largest byte. With it, two products with 8-bit weights fit 16 bits, in which processors without VNNI add them, so
/// the sums are the same on every processor. An eighth bit would halve the step of the activations.
const LARGEST: f32 = 127.0;

/// How a row was quantised: the width of a step, and the value of byte 0.
pub(crate) type RowScale = [f32; 2];

/// Room for rows as bytes from 0 to 127, row after row, and for the scale and lowest value of each row. A value is
/// `low + scale · byte`, at most half a step from the original.
#[derive(Debug)]
pub struct QuantisedRows<'a> {
    bytes: &'a mut [u8],
    rows: &'a mut [RowScale],
    width: usize,
}

impl<'a> QuantisedRows<'a> {
    /// Room for as many rows of this width as there are pairs in `rows`.
    ///
    /// # Errors
    ///
    /// If `bytes` aren't as many whole rows.
    pub fn new(bytes: &'a mut [u8], rows: &'a mut [f32], width: usize) -> Result<Self, UnfitLength> {
        let length = bytes.len();
        let (rows, rest) = rows.as_chunks_mut();
        if !rest.is_empty() || rows.len() * width != length || width == 0 || !width.is_multiple_of(LANES) {
            return Err(UnfitLength { what: "the room for quantised rows", length });
        }
        Ok(Self { bytes, rows, width })
    }

    /// How many rows there is room for.
    #[must_use]
    pub fn count(&self) -> usize {
        self.rows.len()
    }

    /// Splits it into pieces of `rows` rows; the last one may be smaller.
    pub fn pieces(self, rows: usize) -> impl Iterator<Item = QuantisedRows<'a>> {
        let width = self.width;
        let bytes = self.bytes.chunks_mut(rows.max(1) * width);
        let rows = self.rows.chunks_mut(rows.max(1));
        bytes.zip(rows).map(move |(bytes, rows)| QuantisedRows { bytes, rows, width })
    }

    /// Splits it into the first rows and the rest.
    ///
    /// # Panics
    ///
    /// If there are fewer rows.
    #[must_use]
    pub fn split(self, rows: usize) -> (Self, Self) {
        let width = self.width;
        let (bytes, other_bytes) = self.bytes.split_at_mut(rows * width);
        let (rows, other_rows) = self.rows.split_at_mut(rows);
        (Self { bytes, rows, width }, Self { bytes: other_bytes, rows: other_rows, width })
    }

    /// Writes a row.
    #[inline(always)]
    pub(crate) fn put<S: Simd>(&mut self, simd: S, row: usize, values: &[f32]) {
        let bytes = &mut self.bytes[row * self.width..(row + 1) * self.width];
        let [low, high] = reduce::range(simd, values);
        let scale = (high - low) / LARGEST;
        // If all values of a row are equal, there are no steps.
        let inverse = if scale.is_normal() { 1.0 / scale } else { 0.0 };
        for (value, byte) in values.iter().zip(bytes) {
            *byte = (value - low).mul_add(inverse, ROUND).to_bits() as u8;
        }
        self.rows[row] = [scale, low];
    }
}
