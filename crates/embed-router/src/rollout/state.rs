//! The persistent state of a rollout: percentage and stop, in a small file that several processes share.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use embed_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use super::RolloutConfig;

/// Percentage and stop of a rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RolloutState {
    /// The old route.
    pub from: Arc<str>,
    /// The candidate.
    pub to: Arc<str>,
    /// The salt of the hash of partitions.
    pub salt: Arc<str>,
    /// The percentage of partitions that move.
    pub percentage: u8,
    /// Set while the rollout is stopped: then no partition moves, whatever the percentage.
    pub stopped: Option<Stop>,
}

/// Why and when a rollout was stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Stop {
    /// The reason, as a sentence.
    pub reason: String,
    /// The time, in seconds since 1970 (UTC).
    pub at: u64,
}

/// The file of a [`RolloutState`]: JSON, replaced atomically and changed under a lock, so that no process overwrites a
/// change of another.
///
/// ```no_run
/// use embed_router::RolloutFile;
///
/// let file = RolloutFile::new("rollout.json");
/// file.update(|state| state.set_percentage(50))?;
/// # Ok::<(), embed_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct RolloutFile {
    path: PathBuf,
}

impl RolloutState {
    /// The initial state of a rollout.
    #[must_use]
    pub fn of(config: &RolloutConfig) -> Self {
        Self {
            from: Arc::clone(&config.from),
            to: Arc::clone(&config.to),
            salt: Arc::clone(&config.salt),
            percentage: config.percentage,
            stopped: None,
        }
    }

    /// The percentage of partitions that move now: 0 while the rollout is stopped.
    #[must_use]
    pub fn share(&self) -> u8 {
        if self.stopped.is_some() { 0 } else { self.percentage }
    }

    /// Sets the percentage, and lifts a stop.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] above 100.
    pub fn set_percentage(&mut self, percentage: u8) -> Result<()> {
        if percentage > 100 {
            return Err(Error::new(ErrorKind::Config, "a percentage is from 0 to 100")
                .with_context("percentage", percentage));
        }
        self.percentage = percentage;
        self.stopped = None;
        Ok(())
    }

    /// Stops the rollout until a percentage is set. If it is already stopped, the first reason stays.
    pub fn stop(&mut self, reason: impl Into<String>) {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        self.stopped.get_or_insert_with(|| Stop { reason: reason.into(), at });
    }

    fn is_of(&self, other: &Self) -> bool {
        self.from == other.from && self.to == other.to && self.salt == other.salt
    }
}

impl RolloutFile {
    /// The file at a path, which needn't exist yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the state; `None` if there is no file.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if the file can't be read or isn't that of a rollout.
    pub fn read(&self) -> Result<Option<RolloutState>> {
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(self.error("the state file of the rollout can't be read").with_source(error));
            }
        };
        let state: RolloutState = serde_json::from_slice(&bytes).map_err(|error| {
            self.error("the state file of the rollout is damaged; remove it").with_source(error)
        })?;
        if state.percentage > 100 {
            return Err(self.error("the state file of the rollout has a percentage above 100; remove it"));
        }
        Ok(Some(state))
    }

    /// Begins a rollout: writes the file, unless it exists with the same rollout. Returns the file's state.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if a setting is invalid, the file is of another rollout, or it can't be written.
    pub fn begin(&self, config: &RolloutConfig) -> Result<RolloutState> {
        config.check()?;
        self.open(RolloutState::of(config))
    }

    /// Changes the state; returns the new one.
    ///
    /// # Errors
    ///
    /// Those of [`read`](Self::read) and of `change`; [`ErrorKind::Config`] if there is no file or it can't be
    /// written.
    pub fn update(&self, change: impl FnOnce(&mut RolloutState) -> Result<()>) -> Result<RolloutState> {
        let _lock = self.lock()?;
        let state = self.read()?;
        let mut state = state
            .ok_or_else(|| self.error("there is no rollout yet: the first router writes its state file"))?;
        change(&mut state)?;
        self.write(&state)?;
        Ok(state)
    }

    /// Reads the state; if there is no file yet, writes and returns `first`.
    pub(super) fn open(&self, first: RolloutState) -> Result<RolloutState> {
        let _lock = self.lock()?;
        match self.read()? {
            Some(state) if state.is_of(&first) => Ok(state),
            Some(state) => Err(self
                .error("the state file is of another rollout; remove it, or name another file")
                .with_context("from", &state.from)
                .with_context("to", &state.to)),
            None => self.write(&first).map(|()| first),
        }
    }

    fn write(&self, state: &RolloutState) -> Result<()> {
        let write = || {
            let mut file = tempfile::NamedTempFile::new_in(self.folder())?;
            serde_json::to_writer_pretty(&mut file, state)?;
            file.write_all(b"\n")?;
            file.as_file().sync_all()?;
            file.persist(&self.path).map_err(|error| error.error)?;
            Ok::<_, std::io::Error>(())
        };
        write()
            .map_err(|error| self.error("the state file of the rollout can't be written").with_source(error))
    }

    /// The lock is on a separate file, because the state file is replaced.
    fn lock(&self) -> Result<File> {
        let mut name = self.path.as_os_str().to_owned();
        name.push(".lock");
        let lock = || {
            fs::create_dir_all(self.folder())?;
            let file = File::options().create(true).truncate(false).write(true).open(&name)?;
            file.lock()?;
            Ok::<_, std::io::Error>(file)
        };
        lock().map_err(|error| self.error("the state file of the rollout can't be locked").with_source(error))
    }

    fn folder(&self) -> &Path {
        self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }

    fn error(&self, message: &str) -> Error {
        Error::new(ErrorKind::Config, message).with_context("file", self.path.display())
    }
}
