//! Rows as JSON lines, a table, or a NumPy array.

pub(crate) mod destination;
mod jsonl;
mod npy;
mod row;
mod table;

use std::io::{self, BufWriter, Write};

use clap::ValueEnum;
use embed_core::Error;

use destination::{Destination, OutputFile};
use row::RowWriter;

pub(crate) use jsonl::{RowOutcome, escape_separators, write_line};
pub(crate) use row::OutputRow;
pub(crate) use table::pad;

use crate::exit::file_error;

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    /// For people: tokens, the text, the first numbers.
    Table,
    /// One JSON object a line, with the whole vector.
    Jsonl,
    /// A NumPy array of float32, rows by dimension (needs --output). A failed row is NaN, so that rows
    /// keep their places.
    Npy,
}

/// Writes rows to standard output or to a file, which appears when it is finished.
pub(crate) struct Output {
    writer: Box<dyn RowWriter>,
    name: String,
}

/// How rows are written, and where.
#[derive(Debug, Clone)]
pub(crate) struct OutputOptions {
    pub(crate) format: OutputFormat,
    pub(crate) destination: Destination,
    /// Whether an existing file may be replaced.
    pub(crate) replace: bool,
    /// Whether JSON lines contain the text and its role.
    pub(crate) with_text: bool,
    /// The width of a row, for an array that gets no vector.
    pub(crate) dimension: usize,
}

impl Output {
    pub(crate) fn open(options: &OutputOptions) -> Result<Self, Error> {
        let out = BufWriter::new(options.destination.create(options.replace)?);
        let name = options.destination.name();
        let writer: Box<dyn RowWriter> = match options.format {
            OutputFormat::Npy => {
                let npy = npy::NpyWriter::new(out, options.dimension);
                Box::new(npy.map_err(|error| file_error("the output can't be written", &name, error))?)
            }
            OutputFormat::Jsonl => Box::new(jsonl::JsonlWriter { out, with_text: options.with_text }),
            OutputFormat::Table => Box::new(table::TableWriter::new(out)),
        };
        Ok(Self { writer, name })
    }

    pub(crate) fn write(&mut self, row: &OutputRow<'_>) -> Result<(), Error> {
        self.writer.write(row).map_err(|error| file_error("the output can't be written", &self.name, error))
    }

    pub(crate) fn flush(&mut self) -> Result<(), Error> {
        self.writer.flush().map_err(|error| file_error("the output can't be written", &self.name, error))
    }

    /// Writes the last part, and renames the file.
    pub(crate) fn finish(self, summary: &str) -> Result<(), Error> {
        let finished = self.writer.finish(summary).and_then(OutputFile::finish);
        finished.map_err(|error| file_error("the output can't be written", &self.name, error))
    }
}

/// Writes to standard output. All commands write their data through this function.
pub(crate) fn print(text: &str) -> Result<(), Error> {
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(|error| file_error("the output can't be written", "standard output", error))
}
