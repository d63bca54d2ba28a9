//! A row to write, and the trait of row writers.

use std::io::{self, BufWriter};

use embed_core::{EmbeddingRef, Error};

use super::destination::OutputFile;
use crate::io::rows::InputRow;

/// One row with where it came from.
pub(crate) struct OutputRow<'a> {
    pub(crate) index: u64,
    pub(crate) input: &'a InputRow,
    pub(crate) row: Result<EmbeddingRef<'a>, &'a Error>,
}

/// A writer of rows in one format.
pub(super) trait RowWriter {
    fn write(&mut self, row: &OutputRow<'_>) -> io::Result<()>;

    /// Flushes, so that a reader sees what was written.
    fn flush(&mut self) -> io::Result<()>;

    /// Writes the last part. The summary is for people.
    fn finish(self: Box<Self>, summary: &str) -> io::Result<OutputFile>;
}

/// The writer behind a buffer.
pub(super) fn flushed(out: BufWriter<OutputFile>) -> io::Result<OutputFile> {
    out.into_inner().map_err(io::IntoInnerError::into_error)
}
