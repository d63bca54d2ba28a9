//! Threads that several encoders share.

use std::num::NonZeroUsize;
use std::sync::{Arc, OnceLock};
use std::{fmt, thread};

use embed_core::{Error, ErrorKind, Result, Role, Truncation};

use crate::engine::{QueueLimits, Threads, Tokenise};
use crate::tokenizer::{TextTokenizer, TokenisedText, Tokenising};

/// The threads and the queue of one [`Encoder`](crate::Encoder) or of several.
///
/// The calls of all encoders on them take turns by age and size as those of one do, and a run of a model has texts of that
/// model alone, so vectors are the same to the bit as on threads of its own. A clone is the same workers. The threads end
/// when the last clone and the last encoder on them are dropped.
///
/// ```no_run
/// # use std::time::Duration;
/// use embed_encoder::{Encoder, EncoderConfig, Profile, Workers, WorkersConfig};
///
/// # async fn load() -> embed_core::Result<()> {
/// // At most 300 MB of models stay loaded while some of them are idle.
/// let workers = Workers::start(WorkersConfig::default().with_memory_budget(300_000_000))?;
/// let config = EncoderConfig::default().with_workers(&workers);
/// let multilingual = Encoder::load(config.clone()).await?;
/// let english = Profile::by_name("all-minilm-l6-v2")?;
/// // Unloaded after ten minutes without a call; the next one loads it again.
/// let config = config.with_profile(english).with_keep_alive(Some(Duration::from_secs(600)));
/// let english = Encoder::load(config).await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Workers {
    threads: Arc<Threads<LateTokenizer>>,
}

/// Settings of [`Workers`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct WorkersConfig {
    /// Threads that embed, each on one processor; `None` for as many as the process may use (its affinity
    /// and the CPU quota of its cgroup). More threads than that are slower.
    pub threads: Option<NonZeroUsize>,
    /// Calls of all encoders that may wait for a thread or for their model; one more is refused as
    /// [`Overloaded`](embed_core::ErrorKind::Overloaded).
    pub max_waiting_calls: usize,
    /// Bytes of text that may wait to be tokenised; a call with more is refused as
    /// [`Overloaded`](embed_core::ErrorKind::Overloaded), unless nothing else waits.
    pub max_waiting_bytes: usize,
    /// Bytes of models that stay loaded; `None` for no limit. A loaded model counts for
    /// [`Encoder::memory_bytes`](crate::Encoder::memory_bytes). When a model is loaded or a call ends, and all loaded ones
    /// count for more, those that nobody uses are unloaded, the least recently used first. It is no limit for those in use:
    /// a model that a call needs is loaded in any case, and the one that was used last stays.
    pub memory_budget: Option<u64>,
}

impl Default for WorkersConfig {
    fn default() -> Self {
        Self { threads: None, max_waiting_calls: 1024, max_waiting_bytes: 256 << 20, memory_budget: None }
    }
}

impl WorkersConfig {
    /// Sets the number of threads.
    #[must_use]
    pub fn with_threads(mut self, threads: NonZeroUsize) -> Self {
        self.threads = Some(threads);
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

    /// Sets how many bytes of models stay loaded.
    #[must_use]
    pub fn with_memory_budget(mut self, bytes: u64) -> Self {
        self.memory_budget = Some(bytes);
        self
    }
}

impl Workers {
    /// Starts the threads.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if nothing may wait, [`ErrorKind::Unavailable`] if the system gives no thread.
    pub fn start(config: WorkersConfig) -> Result<Self> {
        let WorkersConfig { threads, max_waiting_calls, max_waiting_bytes, memory_budget } = config;
        for (field, value) in
            [("max_waiting_calls", max_waiting_calls), ("max_waiting_bytes", max_waiting_bytes)]
        {
            if value == 0 {
                return Err(Error::new(ErrorKind::Config, format!("{field} must be more than 0")));
            }
        }
        let limits = QueueLimits { calls: max_waiting_calls, bytes: max_waiting_bytes };
        let threads = Threads::start(threads.unwrap_or_else(available_threads), limits, memory_budget)?;
        Ok(Self { threads: Arc::new(threads) })
    }

    /// Threads that embed.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.threads.count()
    }

    pub(crate) fn shared(&self) -> &Arc<Threads<LateTokenizer>> {
        &self.threads
    }
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workers").field("threads", &self.threads()).finish_non_exhaustive()
    }
}

/// Processors that this process may use: its affinity and the CPU quota of its cgroup.
#[must_use]
pub fn available_threads() -> NonZeroUsize {
    // If the system doesn't tell, one thread is correct, if slow.
    thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// The tokenizer of a model. It loads at the same time as the sessions, and is set before the first text comes.
#[derive(Default)]
pub(crate) struct LateTokenizer(OnceLock<TextTokenizer>);

impl LateTokenizer {
    /// Sets it, once.
    pub(crate) fn set(&self, tokenizer: TextTokenizer) {
        self.0.get_or_init(|| tokenizer);
    }

    /// The tokenizer, which must be loaded.
    pub(crate) fn loaded(&self) -> Result<&TextTokenizer> {
        self.0
            .get()
            .ok_or_else(|| Error::new(ErrorKind::Internal, "a text came before the tokenizer was loaded"))
    }
}

impl Tokenise for LateTokenizer {
    type Text = Tokenising;

    fn begin(&self, text: Arc<str>, role: Role, truncation: Truncation) -> Result<Tokenising> {
        self.loaded()?.begin(text, role, truncation)
    }

    fn advance(&self, text: &mut Tokenising, bytes: usize) -> Result<Option<TokenisedText>> {
        self.loaded()?.advance(text, bytes)
    }
}
