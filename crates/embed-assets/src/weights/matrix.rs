//! A matrix in the bytes of the file that it came from, decoded row by row.

use std::fmt;
use std::ops::{Deref, Range};
use std::sync::Arc;

use embed_core::{Error, ErrorKind};
use half::{bf16, f16};

/// Weights in one 4-bit block.
pub const Q4_BLOCK_VALUES: usize = 32;
/// Bytes of one 4-bit block: an f16 scale and 32 nibbles. Byte `j` holds weight `j` in its low half and
/// weight `j + 16` in its high half; a weight is `(nibble − 8) × scale`.
pub const Q4_BLOCK_BYTES: usize = 2 + Q4_BLOCK_VALUES / 2;

/// How the numbers of a matrix are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Little-endian f32.
    F32,
    /// Little-endian IEEE half precision.
    F16,
    /// Little-endian bfloat16.
    Bf16,
    /// Blocks of 32 weights with 4 bits each; a row is whole blocks.
    Q4,
}

impl Format {
    /// Bytes of a row, if rows of this width can be stored so.
    fn row_bytes(self, columns: usize) -> Option<usize> {
        match self {
            Self::F32 => columns.checked_mul(4),
            Self::F16 | Self::Bf16 => columns.checked_mul(2),
            Self::Q4 => {
                let whole = columns.is_multiple_of(Q4_BLOCK_VALUES);
                whole.then_some(columns / Q4_BLOCK_VALUES)?.checked_mul(Q4_BLOCK_BYTES)
            }
        }
    }
}

/// The bytes of a file, which its matrices share.
///
/// A new type, because making an `Arc<[u8]>` would copy the bytes.
pub struct FileBytes(Vec<u8>);

impl From<Vec<u8>> for FileBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl Deref for FileBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for FileBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileBytes({})", self.0.len())
    }
}

/// A matrix of weights, one row after the other. Cloning shares the bytes.
#[derive(Clone)]
pub struct Matrix {
    rows: usize,
    columns: usize,
    row_bytes: usize,
    format: Format,
    file: Arc<FileBytes>,
    range: Range<usize>,
}

impl fmt::Debug for Matrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Matrix({} x {}, {:?})", self.rows, self.columns, self.format)
    }
}

impl Matrix {
    /// A matrix in a range of the bytes of a file.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Protocol`] if the range is outside of the file, isn't as
    /// long as the matrix, or holds a number that isn't finite.
    pub fn new(
        file: &Arc<FileBytes>,
        range: Range<usize>,
        format: Format,
        rows: usize,
        columns: usize,
    ) -> Result<Self, Error> {
        let sizes = || {
            broken("a matrix doesn't fill its place in the file")
                .with_context("rows", rows)
                .with_context("columns", columns)
                .with_context("bytes", range.len())
        };
        let row_bytes = format.row_bytes(columns).filter(|&bytes| bytes > 0).ok_or_else(sizes)?;
        if row_bytes.checked_mul(rows) != Some(range.len()) {
            return Err(sizes());
        }
        if file.get(range.clone()).is_none() {
            return Err(broken("a matrix lies outside of the file"));
        }
        let matrix = Self { rows, columns, row_bytes, format, file: Arc::clone(file), range };
        if !matrix.is_finite() {
            return Err(broken("a weight is not a finite number"));
        }
        Ok(matrix)
    }

    /// Rows: outputs of a linear part, entries of a table.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns: inputs of a linear part, the width of a table.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// How the numbers are stored.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Bytes of a stored row.
    pub fn row_bytes(&self) -> usize {
        self.row_bytes
    }

    /// The stored bytes of each row, in order.
    pub fn stored_rows(&self) -> impl Iterator<Item = &[u8]> {
        self.stored().chunks_exact(self.row_bytes)
    }

    /// Decodes one row into `out`. Rows past the last leave `out` as it is.
    pub fn read_row(&self, row: usize, out: &mut [f32]) {
        let start = row.saturating_mul(self.row_bytes);
        if let Some(bytes) = self.stored().get(start..start.saturating_add(self.row_bytes)) {
            decode(self.format, bytes, out);
        }
    }

    /// Every number, row by row.
    pub fn to_f32(&self) -> Vec<f32> {
        let mut values = vec![0.0; self.rows * self.columns];
        for (bytes, out) in self.stored_rows().zip(values.chunks_exact_mut(self.columns)) {
            decode(self.format, bytes, out);
        }
        values
    }

    fn stored(&self) -> &[u8] {
        // `new` has checked the range; nothing can shorten the shared bytes since.
        self.file.get(self.range.clone()).unwrap_or_default()
    }

    fn is_finite(&self) -> bool {
        match self.format {
            Format::F32 => pieces::<4>(self.stored()).all(|bytes| f32::from_le_bytes(bytes).is_finite()),
            Format::F16 => pieces::<2>(self.stored()).all(|bytes| f16::from_le_bytes(bytes).is_finite()),
            Format::Bf16 => pieces::<2>(self.stored()).all(|bytes| bf16::from_le_bytes(bytes).is_finite()),
            Format::Q4 => pieces::<Q4_BLOCK_BYTES>(self.stored())
                .all(|block| f16::from_le_bytes([block[0], block[1]]).is_finite()),
        }
    }
}

/// The bytes in arrays of equal length.
fn pieces<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> {
    bytes.as_chunks::<N>().0.iter().copied()
}

fn decode(format: Format, bytes: &[u8], out: &mut [f32]) {
    match format {
        Format::F32 => {
            for (bytes, out) in pieces::<4>(bytes).zip(out) {
                *out = f32::from_le_bytes(bytes);
            }
        }
        Format::F16 => {
            for (bytes, out) in pieces::<2>(bytes).zip(out) {
                *out = f16::from_le_bytes(bytes).to_f32();
            }
        }
        Format::Bf16 => {
            for (bytes, out) in pieces::<2>(bytes).zip(out) {
                *out = bf16::from_le_bytes(bytes).to_f32();
            }
        }
        Format::Q4 => {
            let blocks = pieces::<Q4_BLOCK_BYTES>(bytes);
            for (block, out) in blocks.zip(out.chunks_exact_mut(Q4_BLOCK_VALUES)) {
                let scale = f16::from_le_bytes([block[0], block[1]]).to_f32();
                let (low, high) = out.split_at_mut(Q4_BLOCK_VALUES / 2);
                for ((nibbles, low), high) in block[2..].iter().zip(low).zip(high) {
                    *low = (f32::from(nibbles & 15) - 8.0) * scale;
                    *high = (f32::from(nibbles >> 4) - 8.0) * scale;
                }
            }
        }
    }
}

/// The error of a file that isn't what it should be.
pub(crate) fn broken(message: &'static str) -> Error {
    Error::new(ErrorKind::Protocol, message)
}
