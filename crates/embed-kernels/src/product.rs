//! Matrix products whose scales and bias are applied when they are read.

use crate::lanes::{UnfitLength, exactly};
use crate::quantise::RowScale;

/// The rows that a kernel reads.
pub(crate) trait ProductRows: Copy + Send + Sync {
    /// How many rows there are.
    fn count(self) -> usize;
    /// Values of a row.
    fn width(self) -> usize;
    /// Reads a part of a row, from value `first` on, as much as there is room for.
    fn read(self, row: usize, first: usize, out: &mut [f32]);
}

/// The constants of a linear layer that its product doesn't include.
#[derive(Debug, Clone)]
pub struct Linear {
    bias: Vec<f32>,
    /// For 8-bit weights: the scale of each column, and the sum of the column times that scale.
    scales: Vec<f32>,
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

    /// Values of a row.
    #[must_use]
    pub fn width(&self) -> usize {
        self.bias.len()
    }

    /// How many rows this many values are.
    fn rows(&self, values: usize) -> Result<usize, UnfitLength> {
        let fits = values.is_multiple_of(self.width());
        fits.then(|| values / self.width()).ok_or(UnfitLength { what: "a product", length: values })
    }
}

/// A product of either kind, row after row.
#[derive(Debug, Clone, Copy)]
pub enum Product<'a> {
    /// In single precision.
    Single(SingleProduct<'a>),
    /// Of 8-bit numbers.
    Integer(IntegerProduct<'a>),
}

impl Product<'_> {
    /// How many rows there are.
    #[must_use]
    pub fn count(&self) -> usize {
        match self {
            Self::Single(product) => product.count(),
            Self::Integer(product) => product.count(),
        }
    }

    /// Values of a row.
    #[must_use]
    pub fn width(&self) -> usize {
        match self {
            Self::Single(product) => product.width(),
            Self::Integer(product) => product.width(),
        }
    }
}

/// A single-precision product without its bias.
#[derive(Debug, Clone, Copy)]
pub struct SingleProduct<'a> {
    values: &'a [f32],
    linear: &'a Linear,
}

impl<'a> SingleProduct<'a> {
    /// The values row after row.
    ///
    /// # Errors
    ///
    /// If they aren't whole rows.
    pub fn new(linear: &'a Linear, values: &'a [f32]) -> Result<Self, UnfitLength> {
        linear.rows(values.len())?;
        Ok(Self { values, linear })
    }
}

impl ProductRows for SingleProduct<'_> {
    fn count(self) -> usize {
        self.values.len() / self.width()
    }

    fn width(self) -> usize {
        self.linear.width()
    }

    #[inline(always)]
    fn read(self, row: usize, first: usize, out: &mut [f32]) {
        let values = &self.values[row * self.width() + first..][..out.len()];
        for ((out, value), bias) in out.iter_mut().zip(values).zip(&self.linear.bias[first..]) {
            *out = value + bias;
        }
    }
}

/// An 8-bit product: 32-bit sums over rows that were [quantised](crate::QuantisedRows), each with a scale and a
/// lowest value of its own, and columns of weights with a scale each.
///
/// A row is `low + scale · u`, a column `scale · w`, so their product is
/// `scale_row · scale_column · Σ u·w + low · scale_column · Σ w`. The second sum is known beforehand.
#[derive(Debug, Clone, Copy)]
pub struct IntegerProduct<'a> {
    values: &'a [i32],
    rows: &'a [RowScale],
    linear: &'a Linear,
}

impl<'a> IntegerProduct<'a> {
    /// The sums row after row, and what their rows were quantised with: pairs of a scale and a lowest value.
    ///
    /// # Errors
    ///
    /// If the sums aren't whole rows, there are more or fewer pairs, or the part is one in single precision.
    pub fn new(linear: &'a Linear, values: &'a [i32], rows: &'a [f32]) -> Result<Self, UnfitLength> {
        let count = linear.rows(values.len())?;
        let (pairs, rest) = rows.as_chunks();
        if pairs.len() != count || !rest.is_empty() {
            return Err(UnfitLength { what: "the scales of rows", length: rows.len() });
        }
        if linear.scales.is_empty() {
            return Err(UnfitLength { what: "the scales of columns", length: 0 });
        }
        Ok(Self { values, rows: pairs, linear })
    }
}

impl ProductRows for IntegerProduct<'_> {
    fn count(self) -> usize {
        self.rows.len()
    }

    fn width(self) -> usize {
        self.linear.width()
    }

    #[inline(always)]
    fn read(self, row: usize, first: usize, out: &mut [f32]) {
        let Linear { bias, scales, sums } = self.linear;
        let [scale, low] = self.rows[row];
        let values = &self.values[row * self.width() + first..][..out.len()];
        let constants = scales[first..].iter().zip(&sums[first..]).zip(&bias[first..]);
        for ((out, value), ((scale_of_column, sum), bias)) in out.iter_mut().zip(values).zip(constants) {
            *out = (*value as f32 * scale).mul_add(*scale_of_column, low.mul_add(*sum, *bias));
        }
    }
}
