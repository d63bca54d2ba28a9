//! The rows of a file of JSON lines.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use embed_core::Error;

use super::row::{MigrationPlan, MigrationRow, RowUnit};
use super::source::{CollectionRows, Fingerprint, Hashed, open_file};
use crate::exit::file_error;
use crate::io::format::check_start;
use crate::io::lines::{LineReader, max_json_bytes};
use crate::stack::max_text_bytes;

pub(super) struct JsonLines {
    lines: LineReader<BufReader<Hashed<File>>>,
    path: PathBuf,
    plan: MigrationPlan,
    limit: usize,
}

impl JsonLines {
    pub(super) fn open(path: &Path, plan: &MigrationPlan) -> Result<Self, Error> {
        let limit = max_json_bytes(max_text_bytes());
        let reader = BufReader::with_capacity(1 << 16, Hashed::new(open_file(path)?));
        Ok(Self { lines: LineReader::new(reader, limit), path: path.to_owned(), plan: plan.clone(), limit })
    }
}

impl CollectionRows for JsonLines {
    fn unit(&self) -> RowUnit {
        RowUnit::Line
    }

    /// The next line; it may be too long.
    fn next(&mut self) -> Result<Option<Result<MigrationRow, Error>>, Error> {
        let read = self.lines.next();
        let line = read.map_err(|error| file_error("the input can't be read", self.path.display(), error))?;
        let Some(line) = line else { return Ok(None) };
        let number = self.lines.number();
        if number == 1 {
            check_start(&line.bytes).map_err(|error| error.with_context("file", self.path.display()))?;
        }
        Ok(Some(line.check_length(self.limit).and_then(|line| self.plan.read(line, number))))
    }

    fn number(&self) -> u64 {
        self.lines.number()
    }

    fn bytes(&self) -> u64 {
        self.lines.bytes()
    }

    fn fingerprint(&self) -> Result<Fingerprint, Error> {
        let (rows, bytes) = (self.lines.number(), self.lines.bytes());
        Ok(Fingerprint { rows, bytes, sha256: self.lines.source().get_ref().sha256() })
    }
}
