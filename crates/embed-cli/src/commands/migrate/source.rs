//! What the rows of a collection are read from, and how it is known again.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use embed_core::{Error, ErrorKind};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::row::{MigrationRow, RowUnit};
use crate::exit::file_error;

/// Identifies the content of an input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Fingerprint {
    pub(super) rows: u64,
    pub(super) bytes: u64,
    pub(super) sha256: String,
}

/// The rows of a file.
pub(super) trait CollectionRows: Send {
    /// What a row is in this file.
    fn unit(&self) -> RowUnit;

    /// The next row, or why it can't be migrated.
    fn next(&mut self) -> Result<Option<Result<MigrationRow, Error>>, Error>;

    /// The number of the row that was read last; the first is 1.
    fn number(&self) -> u64;

    /// Bytes read so far.
    fn bytes(&self) -> u64;

    /// What was read, once all of it is.
    fn fingerprint(&self) -> Result<Fingerprint, Error>;
}

/// A reader that computes the digest of everything it reads.
pub(super) struct Hashed<R> {
    inner: R,
    digest: Sha256,
}

impl<R> Hashed<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner, digest: Sha256::new() }
    }

    /// The digest of what was read so far.
    pub(super) fn sha256(&self) -> String {
        self.digest.clone().finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.digest.update(&buffer[..count]);
        Ok(count)
    }
}

/// The input isn't what it was when it was checked.
pub(super) fn changed(rows: u64, written: u64) -> Error {
    let what = "the input was changed while it was read; leave it alone, and start over with --restart";
    Error::new(ErrorKind::Config, what)
        .with_context("rows at first", rows)
        .with_context("rows written", written)
}

/// Opens the file of an input.
pub(super) fn open_file(path: &Path) -> Result<File, Error> {
    File::open(path).map_err(|error| unopened(path, error))
}

pub(super) fn unopened(path: &Path, error: io::Error) -> Error {
    file_error("the input can't be opened", path.display(), error)
}
