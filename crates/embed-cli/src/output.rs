//! Rows as JSON lines, a table, or a NumPy array.

mod jsonl;
mod npy;
pub(crate) mod place;
mod table;

use std::io::{self, BufWriter, Write};

use clap::ValueEnum;
use embed_core::{EmbeddingRef, Error};

use place::{Place, Writing};

pub(crate) use jsonl::{Outcome, escape_separators, write_line};
pub(crate) use table::pad;

use crate::exit::file_error;
use crate::input::InputRow;

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people: tokens, the text, the first numbers.
    Table,
    /// One JSON object a line, with the whole vector.
    Jsonl,
    /// A NumPy array of float32, rows by dimension (needs --output). A failed row is NaN, so that rows
    /// keep their places.
    Npy,
}

/// One row with where it came from.
pub(crate) struct OutputRow<'a> {
    pub(crate) index: u64,
    pub(crate) input: &'a InputRow,
    pub(crate) row: Result<EmbeddingRef<'a>, &'a Error>,
}

/// A writer of rows in one format.
trait RowWriter {
    fn write(&mut self, row: &OutputRow<'_>) -> io::Result<()>;

    /// Makes what was written visible to a reader.
    fn flush(&mut self) -> io::Result<()>;

    /// Writes what comes last. The summary is for people.
    fn finish(self: Box<Self>, summary: &str) -> io::Result<Writing>;
}

/// Rows to standard output or to a file, which appears when it is finished.
pub(crate) struct Output {
    writer: Box<dyn RowWriter>,
    name: String,
}

/// How rows are written, and where.
#[derive(Debug, Clone)]
pub(crate) struct OutputOptions {
    pub(crate) format: Format,
    pub(crate) place: Place,
    /// Whether a file that is there may be replaced.
    pub(crate) replace: bool,
    /// Whether JSON lines have their text and its role.
    pub(crate) with_text: bool,
    /// Numbers in a row, for an array that gets no vector.
    pub(crate) dimension: usize,
}

impl Output {
    pub(crate) fn open(options: &OutputOptions) -> Result<Self, Error> {
        let out = BufWriter::new(options.place.create(options.replace)?);
        let name = options.place.name();
        let writer: Box<dyn RowWriter> = match options.format {
            Format::Npy => {
                let npy = npy::NpyWriter::new(out, options.dimension);
                Box::new(npy.map_err(|error| file_error("the output can't be written", &name, error))?)
            }
            Format::Jsonl => Box::new(jsonl::JsonlWriter { out, with_text: options.with_text }),
            Format::Table => Box::new(table::TableWriter::new(out)),
        };
        Ok(Self { writer, name })
    }

    pub(crate) fn write(&mut self, row: &OutputRow<'_>) -> Result<(), Error> {
        self.writer.write(row).map_err(|error| file_error("the output can't be written", &self.name, error))
    }

    pub(crate) fn flush(&mut self) -> Result<(), Error> {
        self.writer.flush().map_err(|error| file_error("the output can't be written", &self.name, error))
    }

    /// Writes what comes last, and gives a file its name.
    pub(crate) fn finish(self, summary: &str) -> Result<(), Error> {
        let finished = self.writer.finish(summary).and_then(Writing::finish);
        finished.map_err(|error| file_error("the output can't be written", &self.name, error))
    }
}

/// What was written, without the buffer that held it.
fn flushed(out: BufWriter<Writing>) -> io::Result<Writing> {
    out.into_inner().map_err(io::IntoInnerError::into_error)
}

/// Writes to standard output: the one door for every command's data.
pub(crate) fn print(text: &str) -> Result<(), Error> {
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(|error| file_error("the output can't be written", "standard output", error))
}
