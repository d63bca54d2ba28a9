//! Rows as a product takes them: as they are, or in 8 bits, each with its own range.

use std::ops::Range;

use embed_gemm::Pair;
use pulp::Simd;

use crate::math::ROUND;
use crate::reduce;
use crate::steps::Step;
use crate::weights::Kind;

/// The largest byte. With it, two products with 8-bit weights fit 16 bits, in which processors without VNNI add them, so
/// the sums are the same on every processor. An eighth bit would halve the step of the activations.
const LARGEST: f32 = 127.0;

/// The length of a row of 16-bit numbers in steps, as the root of the sum of squares. No number of it is larger.
pub(crate) const ROW_LENGTH: f32 = 32_000.0;

/// How a row was quantised: the width of a step, and the value of byte 0.
pub(crate) type RowScale = [f32; 2];

/// The rows of a product.
#[derive(Clone, Copy)]
pub(crate) enum Rows<'a> {
    /// Rows of this many values.
    Single(&'a [f32], usize),
    /// Rows in 8 bits.
    Integer(&'a [u8], &'a [RowScale]),
    /// Rows in 16 bits.
    Words(&'a [Pair], &'a [RowScale]),
}

impl<'a> Rows<'a> {
    /// How many there are.
    pub(crate) fn count(self) -> usize {
        match self {
            Self::Single(values, width) => values.len() / width,
            Self::Integer(_, scales) | Self::Words(_, scales) => scales.len(),
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
            Self::Words(pairs, scales) => {
                let depth = pairs.len() / scales.len();
                Self::Words(&pairs[rows.start * depth..rows.end * depth], &scales[rows])
            }
        }
    }
}

/// Room for rows in 8 or 16 bits, and for the scale of each. In 8 bits a number is `low + scale · byte`, with bytes from 0 to
/// 127, in 16 bits it is `scale · word`; it is at most half a step from the original.
#[derive(Debug, Default)]
pub(crate) struct QuantisedRows {
    bytes: Vec<u8>,
    pairs: Vec<Pair>,
    scales: Vec<RowScale>,
    kind: Kind,
}

impl QuantisedRows {
    /// Room for `count` rows of this many values. Old contents stay.
    pub(crate) fn room(&mut self, kind: Kind, count: usize, width: usize) -> QuantisedPiece<'_> {
        self.kind = kind;
        self.scales.resize(count, [0.0; 2]);
        let (depth, numbers) = if kind == Kind::Words {
            self.pairs.resize(count * width / 2, [0; 2]);
            (width / 2, Numbers::Words(&mut self.pairs))
        } else {
            let depth = embed_gemm::padded(width);
            self.bytes.resize(count * depth, 0);
            (depth, Numbers::Bytes(&mut self.bytes))
        };
        QuantisedPiece { numbers, scales: &mut self.scales, depth }
    }

    /// The rows.
    pub(crate) fn rows(&self) -> Rows<'_> {
        if self.kind == Kind::Words {
            Rows::Words(&self.pairs, &self.scales)
        } else {
            Rows::Integer(&self.bytes, &self.scales)
        }
    }
}

/// Room for the numbers of some rows.
enum Numbers<'a> {
    Bytes(&'a mut [u8]),
    Words(&'a mut [Pair]),
}

/// Room for some of the rows.
pub(crate) struct QuantisedPiece<'a> {
    numbers: Numbers<'a>,
    scales: &'a mut [RowScale],
    /// Bytes or pairs of a row. Bytes behind its values are multiplied by zeros.
    depth: usize,
}

impl<'a> QuantisedPiece<'a> {
    /// Splits it into pieces of this many rows; the last one may be smaller.
    pub(crate) fn split(self, rows: usize) -> Vec<Self> {
        let Self { numbers, scales, depth } = self;
        let scales = scales.chunks_mut(rows);
        let piece = |(numbers, scales)| Self { numbers, scales, depth };
        match numbers {
            Numbers::Bytes(bytes) => {
                bytes.chunks_mut(rows * depth).map(Numbers::Bytes).zip(scales).map(piece).collect()
            }
            Numbers::Words(pairs) => {
                pairs.chunks_mut(rows * depth).map(Numbers::Words).zip(scales).map(piece).collect()
            }
        }
    }

    /// How many rows there is room for.
    pub(crate) fn count(&self) -> usize {
        self.scales.len()
    }

    /// Writes a row.
    #[inline(always)]
    pub(crate) fn put<S: Simd>(&mut self, simd: S, row: usize, values: &[f32]) {
        let place = row * self.depth..(row + 1) * self.depth;
        self.scales[row] = match &mut self.numbers {
            Numbers::Bytes(bytes) => quantise(simd, values, &mut bytes[place]),
            Numbers::Words(pairs) => words(simd, values, &mut pairs[place]),
        };
    }
}

/// Writes the words of a row.
#[inline(always)]
fn words<S: Simd>(simd: S, values: &[f32], pairs: &mut [Pair]) -> RowScale {
    let step = Step::of(reduce::squares(simd, values, 0.0).sqrt(), ROW_LENGTH);
    step.count(values, pairs);
    [step.size, 0.0]
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
