//! The collection that is migrated. It is read twice: once to check and count it, once to embed it.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use embed_core::{Error, ErrorKind};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::row::{MigrationPlan, MigrationRow};
use crate::exit::file_error;
use crate::io::format::check_start;
use crate::io::lines::{LineReader, max_json_bytes};
use crate::io::row_progress::RowProgress;
use crate::io::rows::RowSource;
use crate::stack::max_text_bytes;

/// Identifies the content of an input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Fingerprint {
    pub(super) rows: u64,
    bytes: u64,
    sha256: String,
}

/// The rows of a collection.
pub(super) struct Collection {
    lines: LineReader<BufReader<Hashed<File>>>,
    path: PathBuf,
    plan: MigrationPlan,
    limit: usize,
    seen: Arc<OnceLock<Fingerprint>>,
}

/// A reader that computes the digest of everything it reads.
struct Hashed<R> {
    inner: R,
    digest: Sha256,
}

/// The result of the first reading.
pub(super) struct Survey {
    pub(super) input: Fingerprint,
    /// Rows that are embedded; the others are carried over.
    pub(super) to_embed: u64,
}

impl Survey {
    /// Reads all of it before anything is written. Fails if there is a line that can't be migrated.
    pub(super) fn take(path: &Path, plan: &MigrationPlan, quiet: bool) -> Result<Self, Error> {
        let mut source = Collection::open(path, plan)?;
        let progress = RowProgress::new(path.metadata().ok().map(|meta| meta.len()), quiet, true);
        let (mut to_embed, mut bad) = (0_u64, None);
        while let Some(line) = source.next_line()? {
            match line.and_then(|line| plan.read(line, source.lines.number())) {
                Ok(row) => to_embed += u64::from(row.text().is_some()),
                Err(error) => {
                    let (_, count) = bad.get_or_insert((source.named(error), 0_u64));
                    *count += 1;
                }
            }
            let rows = source.lines.number();
            if rows.is_multiple_of(1000) {
                progress.show(source.lines.bytes(), format!("{rows} rows checked"));
            }
        }
        progress.clear();
        match (bad, source.seen.get()) {
            (Some((error, 1)), _) => Err(error),
            (Some((error, bad)), _) => Err(error.with_context("bad lines", bad)),
            (None, Some(input)) => Ok(Self { input: input.clone(), to_embed }),
            (None, None) => Err(Error::new(ErrorKind::Internal, "the input has no end")),
        }
    }
}

impl Collection {
    pub(super) fn open(path: &Path, plan: &MigrationPlan) -> Result<Self, Error> {
        let unreadable = |error| file_error("the input can't be opened", path.display(), error);
        let file = File::open(path).map_err(unreadable)?;
        if !file.metadata().map_err(unreadable)?.is_file() {
            return Err(Error::new(
                ErrorKind::Config,
                "the input is not a file; it is read twice, so that a pipe can't be migrated",
            )
            .with_context("file", path.display()));
        }
        let limit = max_json_bytes(max_text_bytes());
        let reader = BufReader::with_capacity(1 << 16, Hashed { inner: file, digest: Sha256::new() });
        Ok(Self {
            lines: LineReader::new(reader, limit),
            path: path.to_owned(),
            plan: plan.clone(),
            limit,
            seen: Arc::default(),
        })
    }

    /// The fingerprint of the input, set once all of it is read.
    pub(super) fn seen(&self) -> Arc<OnceLock<Fingerprint>> {
        Arc::clone(&self.seen)
    }

    /// Skips this many rows.
    pub(super) fn skip(&mut self, rows: u64) -> Result<(), Error> {
        for _ in 0..rows {
            self.next_line()?;
        }
        Ok(())
    }

    /// The next line; it may be too long.
    fn next_line(&mut self) -> Result<Option<Result<Vec<u8>, Error>>, Error> {
        let read = self.lines.next();
        let line = read.map_err(|error| file_error("the input can't be read", self.path.display(), error))?;
        if line.is_none() {
            let digest = self.lines.source().get_ref().digest.clone().finalize();
            let sha256 = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            let (rows, bytes) = (self.lines.number(), self.lines.bytes());
            // At the end of the second reading, the digest must be the same.
            let _ = self.seen.set(Fingerprint { rows, bytes, sha256 });
        }
        if let Some(line) = line.as_ref().filter(|_| self.lines.number() == 1) {
            check_start(&line.bytes).map_err(|error| error.with_context("file", self.path.display()))?;
        }
        Ok(line.map(|line| line.check_length(self.limit)))
    }

    fn named(&self, error: Error) -> Error {
        // Not a failed row: nothing is embedded until the line is fixed.
        Error::new(ErrorKind::Config, "the input has a line that can't be migrated")
            .with_context("file", self.path.display())
            .with_context("line", self.lines.number())
            .with_source(error)
    }
}

impl RowSource for Collection {
    type Row = MigrationRow;

    fn next(&mut self) -> Result<Option<MigrationRow>, Error> {
        let Some(line) = self.next_line()? else { return Ok(None) };
        let row = line.and_then(|line| self.plan.read(line, self.lines.number()));
        row.map(Some).map_err(|error| self.named(error))
    }

    fn bytes(&self) -> u64 {
        self.lines.bytes()
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.digest.update(&buffer[..count]);
        Ok(count)
    }
}
