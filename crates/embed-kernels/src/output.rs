//! Where kernels write rows to.

use pulp::Simd;

use crate::quantise::QuantisedRows;

/// Room for rows, in single precision or in 8 bits.
#[derive(Debug)]
pub enum RowsOutput<'a> {
    /// The values themselves.
    Single(&'a mut [f32]),
    /// The values in 8 bits.
    Quantised(QuantisedRows<'a>),
}

impl<'a> RowsOutput<'a> {
    /// Splits it into pieces of `rows` rows; the last one may be smaller. `width` is that of a row.
    pub fn pieces(self, rows: usize, width: usize) -> Vec<Self> {
        match self {
            Self::Single(out) => out.chunks_mut(rows.max(1) * width).map(Self::Single).collect(),
            Self::Quantised(out) => out.pieces(rows).map(Self::Quantised).collect(),
        }
    }

    /// Splits it into the first rows and the rest. `width` is that of a row.
    ///
    /// # Panics
    ///
    /// If there are fewer rows.
    #[must_use]
    pub fn split(self, rows: usize, width: usize) -> (Self, Self) {
        match self {
            Self::Single(out) => {
                let (first, rest) = out.split_at_mut(rows * width);
                (Self::Single(first), Self::Single(rest))
            }
            Self::Quantised(out) => {
                let (first, rest) = out.split(rows);
                (Self::Quantised(first), Self::Quantised(rest))
            }
        }
    }

    /// Writes as many rows as there is room for; `read` computes each.
    #[inline(always)]
    pub(crate) fn write<S: Simd>(self, simd: S, width: usize, read: impl Fn(usize, &mut [f32])) {
        match self {
            Self::Single(out) => {
                for (row, out) in out.chunks_exact_mut(width).enumerate() {
                    read(row, out);
                }
            }
            Self::Quantised(mut out) => {
                let mut values = vec![0.0; width];
                for row in 0..out.count() {
                    read(row, &mut values);
                    out.put(simd, row, &values);
                }
            }
        }
    }
}
