//! The unfinished output, which is also the checkpoint: `OUTPUT.partial` holds the rows so far, and
//! `OUTPUT.partial.json` next to it describes the job that they belong to.
//!
//! A process may die between any two steps. First an empty `OUTPUT.partial` is made, and the job is written; then rows
//! are appended; at the end the file is renamed to the output in one step, and the job is removed. So there are never rows
//! without their job, and a file with the name of the output is complete.
//!
//! The rows of a table are kept as lines of what is new in them, and the output is written at the end, out of them and the
//! input: a file of Parquet can't be read, or gone on with, before it is complete.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use embed_core::{Error, ErrorKind};

#[cfg(feature = "parquet")]
use super::assembly::counts_in;
use super::collection::Collection;
use super::job::MigrationJob;
use super::row::{MigrationPlan, MigrationRow};
use super::tally::RowCounts;
use crate::exit::file_error;
use crate::io::lines::{LineReader, max_json_bytes};
use crate::io::output::destination::{check_absent, check_folder, sync_folder};
use crate::io::rows::RowSource as _;
use crate::stack::max_text_bytes;

/// The files of an output.
#[derive(Debug, Clone)]
pub(super) struct Paths {
    pub(super) output: PathBuf,
    partial: PathBuf,
    job: PathBuf,
}

/// Measures of the rows of an earlier run.
pub(super) struct RowShape<'a> {
    pub(super) space: &'a str,
    pub(super) dimension: usize,
    /// The longest line, in bytes.
    pub(super) limit: usize,
}

/// An unfinished output, locked against other processes.
pub(super) struct Checkpoint {
    paths: Paths,
    file: File,
    bytes: u64,
}

impl Paths {
    pub(super) fn of(output: &Path) -> Self {
        let with = |end: &str| {
            let mut path = output.as_os_str().to_owned();
            path.push(end);
            PathBuf::from(path)
        };
        Self { output: output.to_owned(), partial: with(".partial"), job: with(".partial.json") }
    }

    /// Fails if no file can be created at this path.
    pub(super) fn check(&self) -> Result<(), Error> {
        check_folder(&self.output)
    }

    /// Fails if the output exists.
    pub(super) fn check_absent(&self) -> Result<(), Error> {
        check_absent(&self.output)
    }

    /// Whether an earlier run has left something.
    pub(super) fn is_begun(&self) -> bool {
        self.job.exists()
    }

    /// The counts, if a process that finished this job died before it removed `OUTPUT.partial.json`, so that the output is
    /// complete. To be sure, all rows are compared with `source`.
    pub(super) fn finished(
        &self,
        job: &MigrationJob,
        mut source: Collection,
        shape: &RowShape<'_>,
    ) -> Result<Option<RowCounts>, Error> {
        if self.partial.exists() || !self.output.exists() || self.read_job()?.as_ref() != Some(job) {
            return Ok(None);
        }
        let output =
            File::open(&self.output).map_err(|error| self.failed("can't be read", &self.output, error))?;
        let (bytes, tally) = self.known_rows(&output, &mut source, shape)?;
        let length =
            output.metadata().map_err(|error| self.failed("can't be read", &self.output, error))?.len();
        if tally.rows() != job.input.rows || bytes != length {
            return Ok(None);
        }
        self.remove_job()?;
        Ok(Some(tally))
    }

    /// The counts, if the output is a table of this job. It says so itself, and it is complete if it is there.
    #[cfg(feature = "parquet")]
    pub(super) fn finished_table(&self, job: &MigrationJob) -> Result<Option<RowCounts>, Error> {
        if self.read_job()?.as_ref() != Some(job) {
            return Ok(None);
        }
        let Some(tally) = counts_in(&self.output, job) else { return Ok(None) };
        let rows = lock(self)?;
        self.remove_partial()?;
        self.remove_job()?;
        drop(rows);
        Ok(Some(tally))
    }

    /// Counts the lines of `file` and their bytes, up to the first that is incomplete or doesn't match its row of
    /// `source`. One more row of `source` than there are such lines may be read.
    fn known_rows(
        &self,
        file: &File,
        source: &mut Collection,
        shape: &RowShape<'_>,
    ) -> Result<(u64, RowCounts), Error> {
        let mut lines = LineReader::new(BufReader::with_capacity(1 << 16, file), shape.limit);
        let (mut bytes, mut tally) = (0, RowCounts::default());
        loop {
            let line = lines.next().map_err(|error| self.failed("can't be read", &self.partial, error))?;
            let Some(line) = line.filter(|line| line.ended && line.whole) else { break };
            let row = source.next()?;
            let fate =
                row.and_then(|row: MigrationRow| row.fate_in(&line.bytes, shape.space, shape.dimension));
            let Some(fate) = fate else { break };
            tally.add(fate);
            bytes += line.length;
        }
        Ok((bytes, tally))
    }

    /// The job that the rows belong to; `None` if it was never written.
    fn read_job(&self) -> Result<Option<MigrationJob>, Error> {
        match fs::read(&self.job) {
            // A process that died while it wrote the job has written no rows.
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.failed("can't be read", &self.job, error)),
        }
    }

    fn write_job(&self, job: &MigrationJob) -> Result<(), Error> {
        let write = || -> io::Result<()> {
            let mut file = File::create(&self.job)?;
            serde_json::to_writer(&mut file, job)?;
            file.write_all(b"\n")?;
            file.sync_all()
        };
        write().map_err(|error| self.failed("can't be written", &self.job, error))
    }

    fn remove_job(&self) -> Result<(), Error> {
        match fs::remove_file(&self.job) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(self.failed("can't be removed", &self.job, error))
            }
            _ => Ok(()),
        }
    }

    #[cfg(feature = "parquet")]
    fn remove_partial(&self) -> Result<(), Error> {
        fs::remove_file(&self.partial).map_err(|error| self.failed("can't be removed", &self.partial, error))
    }

    fn failed(&self, what: &str, path: &Path, error: io::Error) -> Error {
        file_error(&format!("a file of the migration {what}"), path.display(), error)
    }
}

impl<'a> RowShape<'a> {
    pub(super) fn of(plan: &'a MigrationPlan) -> Self {
        let (space, dimension) = (plan.to.as_str(), plan.dimension);
        // A line may grow by the fields that it lacked, and a number takes up to 16 characters.
        Self { space, dimension, limit: 2 * max_json_bytes(max_text_bytes()) + 16 * dimension }
    }
}

impl Checkpoint {
    /// Opens the unfinished output. One that an earlier run left must belong to the same job, unless `restart` clears it.
    pub(super) fn open(paths: Paths, job: &MigrationJob, restart: bool) -> Result<Self, Error> {
        let file = lock(&paths)?;
        let failed = |error| paths.failed("can't be written", &paths.partial, error);
        if restart {
            file.set_len(0).map_err(failed)?;
        }
        if file.metadata().map_err(failed)?.len() == 0 {
            paths.write_job(job)?;
        } else {
            let difference = match paths.read_job()? {
                Some(before) => job.difference(&before),
                None => Some("nothing says of what"),
            };
            if let Some(difference) = difference {
                return Err(Error::new(
                    ErrorKind::Config,
                    "an earlier migration to this output was not finished and is not this one; \
                     repeat that one, or pass --restart to drop its rows",
                )
                .with_context("file", paths.partial.display())
                .with_context("differs", difference));
            }
        }
        Ok(Self { paths, file, bytes: 0 })
    }

    /// Keeps the rows that an earlier run wrote, and cuts off an incomplete one. `open` opens the input at its first row;
    /// the returned collection continues after the rows that are kept.
    pub(super) fn keep(
        &mut self,
        open: impl Fn() -> Result<Collection, Error>,
        shape: &RowShape<'_>,
    ) -> Result<(Collection, RowCounts), Error> {
        let (bytes, tally) = self.paths.known_rows(&self.file, &mut open()?, shape)?;
        self.file
            .set_len(bytes)
            .and_then(|()| self.file.seek(SeekFrom::Start(bytes)))
            .map_err(|error| self.paths.failed("can't be written", &self.paths.partial, error))?;
        self.bytes = bytes;
        let mut source = open()?;
        source.skip(tally.rows())?;
        Ok((source, tally))
    }

    /// Appends complete lines.
    pub(super) fn append(&mut self, lines: &[u8]) -> Result<(), Error> {
        self.file.write_all(lines).map_err(|error| {
            file_error("the output can't be written", self.paths.partial.display(), error)
        })?;
        self.bytes += lines.len() as u64;
        Ok(())
    }

    /// Renames the output once all of it is on the disk.
    pub(super) fn finish(self) -> Result<(), Error> {
        let failed = |error| file_error("the output can't be written", self.paths.output.display(), error);
        self.file.sync_all().map_err(failed)?;
        self.check_length()?;
        let paths = &self.paths;
        fs::rename(&paths.partial, &paths.output).map_err(failed)?;
        sync_folder(&paths.output).map_err(failed)?;
        paths.remove_job()
    }

    /// Lets a table be written out of the lines, and removes them.
    #[cfg(feature = "parquet")]
    pub(super) fn finish_table(
        mut self,
        write: impl FnOnce(&File, &Path) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.check_length()?;
        let rewound = self.file.rewind();
        rewound.map_err(|error| self.paths.failed("can't be read", &self.paths.partial, error))?;
        write(&self.file, &self.paths.output)?;
        self.paths.remove_partial()?;
        self.paths.remove_job()
    }

    fn check_length(&self) -> Result<(), Error> {
        let Self { paths, file, bytes } = self;
        let length =
            file.metadata().map_err(|error| paths.failed("can't be read", &paths.partial, error))?.len();
        if length == *bytes {
            return Ok(());
        }
        let what = "the output is not what was written; something else writes to it, so pass --restart";
        Err(Error::new(ErrorKind::Internal, what)
            .with_context("file", paths.partial.display())
            .with_context("bytes", length)
            .with_context("written", bytes))
    }
}

/// Opens the unfinished output for this process alone. The lock ends with the process.
fn lock(paths: &Paths) -> Result<File, Error> {
    let path = &paths.partial;
    let failed = |error| file_error("the output can't be written", path.display(), error);
    loop {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(path).map_err(failed)?;
        match file.try_lock() {
            // The process that held the lock may have finished and renamed the file since it was opened here.
            Ok(()) if is_at(&file, path).map_err(failed)? => return Ok(file),
            Ok(()) => {}
            Err(TryLockError::Error(error)) => return Err(failed(error)),
            Err(TryLockError::WouldBlock) => {
                return Err(Error::new(
                    ErrorKind::Config,
                    "another process migrates to this output; wait for it, or choose another output",
                )
                .with_context("file", path.display()));
            }
        }
    }
}

/// Whether the file still has this name.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;

    let ours = file.metadata()?;
    match path.metadata() {
        Ok(there) => Ok((ours.dev(), ours.ino()) == (there.dev(), there.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// On other systems the standard library can't tell; only a missing name is noticed.
#[cfg(not(unix))]
fn is_at(_: &File, path: &Path) -> io::Result<bool> {
    path.try_exists()
}
