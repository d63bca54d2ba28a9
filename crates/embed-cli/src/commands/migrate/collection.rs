//! The collection that is migrated. It is read several times: to check and count it, to embed it, and, if it is a table, to
//! write the output.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use embed_core::{Error, ErrorKind};

use super::format::CollectionFormat;
use super::json_lines::JsonLines;
use super::row::{MigrationPlan, MigrationRow};
use super::source::{CollectionRows, Fingerprint, unopened};
#[cfg(feature = "parquet")]
use super::table::TableRows;
use crate::io::row_progress::RowProgress;
use crate::io::rows::RowSource;

/// The rows of a collection.
pub(super) struct Collection {
    rows: Box<dyn CollectionRows>,
    path: PathBuf,
    seen: Arc<OnceLock<Fingerprint>>,
}

/// The result of the first reading.
pub(super) struct Survey {
    pub(super) input: Fingerprint,
    /// Rows that are embedded; the others are carried over.
    pub(super) to_embed: u64,
}

impl Survey {
    /// Reads all of it before anything is written. Fails if there is a row that can't be migrated.
    pub(super) fn take(path: &Path, plan: &MigrationPlan, quiet: bool) -> Result<Self, Error> {
        let mut source = Collection::open(path, plan)?;
        let progress = RowProgress::new(path.metadata().ok().map(|meta| meta.len()), quiet, true);
        let (mut to_embed, mut bad) = (0_u64, None);
        while let Some(row) = source.next_row()? {
            match row {
                Ok(row) => to_embed += u64::from(row.text().is_some()),
                Err(error) => {
                    let (_, count) = bad.get_or_insert((source.named(error), 0_u64));
                    *count += 1;
                }
            }
            let rows = source.rows.number();
            if rows.is_multiple_of(1000) {
                progress.show(source.rows.bytes(), format!("{rows} rows checked"));
            }
        }
        progress.clear();
        match (bad, source.seen.get()) {
            (Some((error, 1)), _) => Err(error),
            (Some((error, bad)), _) => Err(error.with_context(source.rows.unit().bad(), bad)),
            (None, Some(input)) => Ok(Self { input: input.clone(), to_embed }),
            (None, None) => Err(Error::new(ErrorKind::Internal, "the input has no end")),
        }
    }
}

impl Collection {
    pub(super) fn open(path: &Path, plan: &MigrationPlan) -> Result<Self, Error> {
        let metadata = path.metadata().map_err(|error| unopened(path, error))?;
        if !metadata.is_file() {
            return Err(Error::new(
                ErrorKind::Config,
                "the input is not a file; it is read twice, so that a pipe can't be migrated",
            )
            .with_context("file", path.display()));
        }
        let rows: Box<dyn CollectionRows> = match CollectionFormat::of(path)? {
            CollectionFormat::JsonLines => Box::new(JsonLines::open(path, plan)?),
            #[cfg(feature = "parquet")]
            CollectionFormat::Table(_) => Box::new(TableRows::open(path, plan)?),
        };
        Ok(Self { rows, path: path.to_owned(), seen: Arc::default() })
    }

    /// The fingerprint of the input, set once all of it is read.
    pub(super) fn seen(&self) -> Arc<OnceLock<Fingerprint>> {
        Arc::clone(&self.seen)
    }

    /// Skips this many rows.
    pub(super) fn skip(&mut self, rows: u64) -> Result<(), Error> {
        for _ in 0..rows {
            self.next_row()?;
        }
        Ok(())
    }

    fn next_row(&mut self) -> Result<Option<Result<MigrationRow, Error>>, Error> {
        let row = self.rows.next()?;
        if row.is_none() {
            // At the end of the second reading, the digest must be the same.
            let _ = self.seen.set(self.rows.fingerprint()?);
        }
        Ok(row)
    }

    fn named(&self, error: Error) -> Error {
        // Not a failed row: nothing is embedded until it is fixed.
        let unit = self.rows.unit().name();
        Error::new(ErrorKind::Config, format!("the input has a {unit} that can't be migrated"))
            .with_context("file", self.path.display())
            .with_context(unit, self.rows.number())
            .with_source(error)
    }
}

impl RowSource for Collection {
    type Row = MigrationRow;

    fn next(&mut self) -> Result<Option<MigrationRow>, Error> {
        let row = self.next_row()?;
        row.transpose().map_err(|error| self.named(error))
    }

    fn bytes(&self) -> u64 {
        self.rows.bytes()
    }
}
