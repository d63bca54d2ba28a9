//! Rows as JSON lines, a table, or a NumPy array.

mod jsonl;
mod npy;
mod table;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use embed_core::{EmbeddingRef, Error, ErrorKind, Role};

pub(crate) use jsonl::Outcome;
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
    fn finish(&mut self, _summary: &str) -> io::Result<()> {
        self.flush()
    }
}

/// Rows to standard output or to a file.
pub(crate) struct Output {
    writer: Box<dyn RowWriter>,
    name: String,
}

impl Output {
    /// Opens the output before any work is done, so that a wrong path costs no time.
    /// With `text_role`, JSON lines have their text and this role.
    pub(crate) fn open(format: Format, path: Option<&Path>, text_role: Option<Role>) -> Result<Self, Error> {
        let create = |path: &PathBuf| {
            File::create(path)
                .map_err(|error| file_error("the output can't be written", path.display(), error))
        };
        let path = path.map(Path::to_owned);
        let name = path.as_ref().map_or("standard output".to_owned(), |path| path.display().to_string());
        let writer: Box<dyn RowWriter> = match (format, &path) {
            // `EncodeArgs::check` refuses it with better words.
            (Format::Npy, None) => return Err(Error::new(ErrorKind::Config, "an array needs a file")),
            (Format::Npy, Some(path)) => Box::new(npy::NpyWriter::new(create(path)?)),
            (Format::Jsonl, None) => {
                Box::new(jsonl::JsonlWriter { out: BufWriter::new(io::stdout()), text_role })
            }
            (Format::Jsonl, Some(path)) => {
                Box::new(jsonl::JsonlWriter { out: BufWriter::new(create(path)?), text_role })
            }
            (Format::Table, None) => Box::new(table::TableWriter::new(BufWriter::new(io::stdout()))),
            (Format::Table, Some(path)) => Box::new(table::TableWriter::new(BufWriter::new(create(path)?))),
        };
        Ok(Self { writer, name })
    }

    pub(crate) fn write(&mut self, row: &OutputRow<'_>) -> Result<(), Error> {
        self.writer.write(row).map_err(|error| file_error("the output can't be written", &self.name, error))
    }

    pub(crate) fn flush(&mut self) -> Result<(), Error> {
        self.writer.flush().map_err(|error| file_error("the output can't be written", &self.name, error))
    }

    pub(crate) fn finish(&mut self, summary: &str) -> Result<(), Error> {
        self.writer
            .finish(summary)
            .map_err(|error| file_error("the output can't be written", &self.name, error))
    }
}

/// Writes to standard output: the one door for every command's data.
pub(crate) fn print(text: &str) -> Result<(), Error> {
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(|error| file_error("the output can't be written", "standard output", error))
}
