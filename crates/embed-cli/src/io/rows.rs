//! Rows of an input, and where they come from.

use embed_core::{Error, Role};
use serde_json::value::RawValue;

/// One row of the input. A bad one keeps its place.
#[derive(Debug)]
pub(crate) struct InputRow {
    /// The `id` of a JSON line as written; halves of UTF-16 pairs, which no reader accepts, are replaced.
    pub(crate) id: Option<Box<RawValue>>,
    pub(crate) text: Result<String, Error>,
    /// The role of the text: that of the JSON line, or that of the command.
    pub(crate) role: Role,
}

/// Rows, one after the other.
pub(crate) trait RowSource: Send + 'static {
    type Row: Send;

    /// The next row.
    fn next(&mut self) -> Result<Option<Self::Row>, Error>;

    /// Whether the next row may take long: the rows before it should be answered first.
    fn would_wait(&self) -> bool {
        false
    }

    /// Bytes read so far.
    fn bytes(&self) -> u64;
}

/// Rows that are answered together.
pub(crate) struct Batch<R> {
    pub(crate) rows: Vec<R>,
    /// Bytes of the input that were read up to its last row.
    pub(crate) bytes: u64,
}
