//! The settings of an embedder.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use embed_core::{Error, ErrorKind};

use crate::assets::{DataHome, ModelFiles};
use crate::{Precision, Profile, Workers, WorkersConfig};

/// Settings of an [`Encoder`](crate::Encoder). [`EncoderConfig::default`] is multilingual-e5-small in
/// int8 from the default data folder, on every processor that the process may use.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct EncoderConfig {
    /// The model.
    pub profile: &'static Profile,
    /// The precision that it runs in.
    pub precision: Precision,
    /// The folder of the model; `None` for its place in the data folder.
    pub folder: Option<PathBuf>,
    /// The data folder; `None` for [`DataHome::from_env`].
    pub home: Option<DataHome>,
    /// The ONNX Runtime library; `None` for `ORT_DYLIB_PATH`, the data folder, or the system's.
    pub runtime_library: Option<PathBuf>,
    /// Threads that embed, each on one processor; `None` for as many as the process may use (its affinity
    /// and the CPU quota of its cgroup). More threads than that are slower. [`workers`](Self::workers) have their own.
    pub threads: Option<NonZeroUsize>,
    /// The longest text. A longer one is refused before it is tokenised, which would take time and memory.
    pub max_text_bytes: usize,
    /// Calls that may wait for a thread; one more is refused as
    /// [`Overloaded`](embed_core::ErrorKind::Overloaded). [`workers`](Self::workers) have a limit of their own.
    pub max_waiting_calls: usize,
    /// Bytes of text that may wait to be tokenised; a call with more is refused as
    /// [`Overloaded`](embed_core::ErrorKind::Overloaded), unless nothing else waits. [`workers`](Self::workers) have a limit
    /// of their own.
    pub max_waiting_bytes: usize,
    /// Windows of 512 tokens that one text may have with
    /// [`Truncation::ChunkMean`](embed_core::Truncation::ChunkMean); a longer text is refused as
    /// [`InputTooLong`](embed_core::ErrorKind::InputTooLong).
    pub max_windows: usize,
    /// The threads and the queue that this encoder shares with others; `None` for its own.
    pub workers: Option<Workers>,
    /// How long the model stays loaded after its last call; `None` for ever. The next call loads it again, which takes it
    /// some tenths of a second.
    pub keep_alive: Option<Duration>,
}

impl Default for EncoderConfig {
    fn default() -> Self {
        Self {
            profile: &Profile::all()[0],
            precision: Precision::default(),
            folder: None,
            home: None,
            runtime_library: None,
            threads: None,
            // Two thousand windows of 512 tokens for `Truncation::ChunkMean`: a book, not a passage.
            max_text_bytes: 1 << 20,
            max_waiting_calls: 1024,
            max_waiting_bytes: 256 << 20,
            max_windows: 4096,
            workers: None,
            keep_alive: None,
        }
    }
}

impl EncoderConfig {
    /// The model in a folder that a pull made: `<data folder>/models/<model>/<precision>`, one of its versions, or a copy of
    /// one. What it is and its precision are read from the folder; everything else is as in [`default`](Self::default).
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), embed_core::Error> {
    /// use embed_encoder::{Encoder, EncoderConfig};
    ///
    /// let encoder = Encoder::load(EncoderConfig::from_folder("/srv/models/bge-small/int8")?).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`ModelFiles::in_folder`].
    pub fn from_folder(folder: impl Into<PathBuf>) -> Result<Self, Error> {
        let folder = folder.into();
        let files = ModelFiles::in_folder(&folder)?;
        let (profile, precision) = (files.profile()?, files.precision());
        Ok(Self { profile, precision, folder: Some(folder), ..Self::default() })
    }

    /// Sets the model.
    #[must_use]
    pub fn with_profile(mut self, profile: &'static Profile) -> Self {
        self.profile = profile;
        self
    }

    /// Sets the precision.
    #[must_use]
    pub fn with_precision(mut self, precision: Precision) -> Self {
        self.precision = precision;
        self
    }

    /// Sets the data folder.
    #[must_use]
    pub fn with_home(mut self, home: DataHome) -> Self {
        self.home = Some(home);
        self
    }

    /// Sets the ONNX Runtime library.
    #[must_use]
    pub fn with_runtime_library(mut self, path: impl Into<PathBuf>) -> Self {
        self.runtime_library = Some(path.into());
        self
    }

    /// Sets the number of threads.
    #[must_use]
    pub fn with_threads(mut self, threads: NonZeroUsize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// Sets the size of the longest text.
    #[must_use]
    pub fn with_max_text_bytes(mut self, bytes: usize) -> Self {
        self.max_text_bytes = bytes;
        self
    }

    /// Sets how many calls may wait.
    #[must_use]
    pub fn with_max_waiting_calls(mut self, calls: usize) -> Self {
        self.max_waiting_calls = calls;
        self
    }

    /// Sets how many bytes of text may wait.
    #[must_use]
    pub fn with_max_waiting_bytes(mut self, bytes: usize) -> Self {
        self.max_waiting_bytes = bytes;
        self
    }

    /// Sets how many windows a text may have.
    #[must_use]
    pub fn with_max_windows(mut self, windows: usize) -> Self {
        self.max_windows = windows;
        self
    }

    /// The model's files.
    pub(crate) fn files(&self, home: &DataHome) -> Result<ModelFiles, Error> {
        match &self.folder {
            None => ModelFiles::find(home, self.profile, self.precision),
            Some(folder) => ModelFiles::in_folder(folder)?.made_for(self.profile, self.precision),
        }
    }

    /// Has the encoder share these workers with others. Then `threads`, `max_waiting_calls` and `max_waiting_bytes` are
    /// those of the workers.
    #[must_use]
    pub fn with_workers(mut self, workers: &Workers) -> Self {
        self.workers = Some(workers.clone());
        self
    }

    /// Sets how long the model stays loaded after its last call; `None` for ever.
    #[must_use]
    pub fn with_keep_alive(mut self, keep_alive: Option<Duration>) -> Self {
        self.keep_alive = keep_alive;
        self
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        let zero = |field: &str| Err(Error::new(ErrorKind::Config, format!("{field} must be more than 0")));
        match self {
            Self { max_text_bytes: 0, .. } => zero("max_text_bytes"),
            Self { max_waiting_calls: 0, .. } => zero("max_waiting_calls"),
            Self { max_waiting_bytes: 0, .. } => zero("max_waiting_bytes"),
            Self { max_windows: 0, .. } => zero("max_windows"),
            Self { profile, .. } => profile.check(),
        }
    }
}

/// The workers that an encoder with these settings has for itself.
impl From<&EncoderConfig> for WorkersConfig {
    fn from(config: &EncoderConfig) -> Self {
        let mut workers = Self::default()
            .with_max_waiting_calls(config.max_waiting_calls)
            .with_max_waiting_bytes(config.max_waiting_bytes);
        workers.threads = config.threads;
        workers
    }
}
