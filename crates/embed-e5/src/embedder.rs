//! The family as an [`Embedder`].

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::{Arc, OnceLock};
use std::thread;

use embed_core::{
    EmbedRequest, EmbedResponse, Embedder, Error, ErrorKind, Health, ModelInfo, Result, RowInfo, Variant,
    async_trait,
};
use tokio::sync::oneshot;

use crate::assets::{DataHome, ModelFiles, TOKENIZER_FILE};
use crate::engine::Engine;
use crate::pipeline::{Counters, E5Stats, Pipeline};
use crate::runtime::RuntimeLibrary;
use crate::tokenizer::TextTokenizer;
use crate::{E5Config, Precision, Profile};

/// A model of the E5 family, loaded and ready.
///
/// The vector of a text depends on the text, the role and the truncation alone, never on its neighbours
/// in a request or on what other callers do.
///
/// Dropping it waits for the runs in progress (tens of milliseconds) and ends its threads.
pub struct E5Embedder {
    model: ModelInfo,
    engine: Engine,
    pipeline: Arc<Pipeline>,
}

impl E5Embedder {
    /// Checks the model's files, loads ONNX Runtime and the model, and starts the threads. It takes a
    /// good part of a second, on a thread of its own.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::ModelNotFound`] if the model isn't in the data folder, [`ErrorKind::Config`] for
    /// everything else that is missing, damaged or set wrong; each names the fix.
    ///
    /// # Cancellation
    ///
    /// Dropping the future lets the loading run to its end and throws the result away.
    pub async fn load(config: E5Config) -> Result<Self> {
        let (sender, receiver) = oneshot::channel();
        thread::Builder::new()
            .name("embed-e5-load".to_owned())
            .spawn(move || {
                // Nobody waits any more if this fails.
                let _ = sender.send(Self::load_blocking(config));
            })
            .map_err(|error| {
                Error::new(ErrorKind::Unavailable, "the system gives no thread to load the model")
                    .with_source(error)
            })?;
        receiver
            .await
            .unwrap_or_else(|_| Err(Error::new(ErrorKind::Internal, "the thread that loads the model died")))
    }

    /// As [`load`](Self::load), on the calling thread.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn load_blocking(config: E5Config) -> Result<Self> {
        config.check()?;
        let home = config.home.clone().map_or_else(DataHome::from_env, Ok)?;
        let files = ModelFiles::find(&home, config.profile, config.precision)?;
        let library = RuntimeLibrary::find(&home, config.runtime_library.as_deref())?;
        let threads = config.threads.unwrap_or_else(available_threads);
        // The tokenizer takes as long as all the rest, so it loads beside it, and so is the library checked and loaded.
        // Nothing is loaded unchecked.
        let (engine, pipeline) = thread::scope(|scope| {
            let tokenizer = scope.spawn(|| {
                files.verify(|name| name == TOKENIZER_FILE)?;
                TextTokenizer::open(&files.tokenizer, config.profile.max_tokens, config.max_text_bytes)
            });
            let environment = scope.spawn(|| library.environment());
            files.verify(|name| name != TOKENIZER_FILE)?;
            let died = |_| Err(Error::new(ErrorKind::Internal, "a thread that loads the model died"));
            let pipeline = Arc::new(Pipeline {
                environment: environment.join().unwrap_or_else(died)?,
                files: files.clone(),
                dimension: config.profile.dimension,
                precision: config.precision,
                threads,
                tokenizer: OnceLock::new(),
                counters: Counters::default(),
            });
            let engine = Engine::start(threads, config.max_waiting_calls, Arc::clone(&pipeline) as _)?;
            let tokenizer = tokenizer.join().unwrap_or_else(|_| {
                Err(Error::new(ErrorKind::Internal, "the thread that loads the tokenizer died"))
            })?;
            pipeline.tokenizer.get_or_init(|| tokenizer);
            Ok::<_, Error>((engine, pipeline))
        })?;
        let model = model_info(config.profile, config.precision, &files);
        Ok(Self { model, engine, pipeline })
    }

    /// What was done since the model was loaded.
    #[must_use]
    pub fn stats(&self) -> E5Stats {
        self.pipeline.counters.read()
    }

    /// Threads that embed.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.engine.broken_workers().1
    }
}

/// Processors that this process may use: its affinity and the CPU quota of its cgroup.
#[must_use]
pub fn available_threads() -> NonZeroUsize {
    // Where the system doesn't tell, one thread is right, if slow.
    thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

fn model_info(profile: &Profile, precision: Precision, files: &ModelFiles) -> ModelInfo {
    let variant = Variant::new(
        profile.space(),
        [
            ("weights", short_digest(&files.model_sha256)),
            ("precision", profile.precision_label(precision)),
            ("tokenizer", short_digest(&files.tokenizer_sha256)),
        ],
    );
    ModelInfo::builder("e5", profile.name, variant).max_tokens(profile.max_tokens).build()
}

/// 64 bits tell a handful of files apart and keep ids readable.
fn short_digest(sha256: &str) -> &str {
    sha256.get(..16).unwrap_or(sha256)
}

#[async_trait]
impl Embedder for E5Embedder {
    fn model(&self) -> &ModelInfo {
        &self.model
    }

    async fn embed(&self, request: EmbedRequest) -> Result<EmbedResponse> {
        let mut call = self.engine.submit(&request)?;
        match request.deadline() {
            // Too late is an answer too: the rows that made it are kept.
            Some(deadline) => drop(tokio::time::timeout_at(deadline.into(), call.finished()).await),
            None => call.finished().await,
        }
        let rows = call.take_rows();
        if !rows.is_empty() && rows.iter().all(Option::is_none) {
            return Err(too_late());
        }
        let mut response = EmbedResponse::builder(rows.len(), self.model.dimension());
        for (index, row) in rows.into_iter().enumerate() {
            match row.unwrap_or_else(|| Err(too_late())) {
                Ok(row) => {
                    let info = RowInfo::new(self.model.clone()).with_tokens(row.tokens);
                    response.put(index, &row.vector, info);
                }
                Err(error) => response.fail(index, error),
            }
        }
        Ok(response.build())
    }

    async fn health(&self) -> Health {
        let (broken, all) = self.engine.broken_workers();
        let reason = || {
            Error::new(ErrorKind::Unavailable, "workers of the engine died and aren't replaced yet")
                .with_context("dead", broken)
                .with_context("of", all)
        };
        match broken {
            0 => Health::ready(),
            broken if broken < all => Health::degraded(reason()),
            _ => Health::unavailable(reason()),
        }
    }
}

fn too_late() -> Error {
    Error::new(ErrorKind::Timeout, "the deadline was over before the text was embedded").temporary()
}

impl fmt::Display for E5Embedder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "E5({})", self.model.name())
    }
}

impl fmt::Debug for E5Embedder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("E5Embedder")
            .field("model", &self.model)
            .field("engine", &self.engine)
            .finish_non_exhaustive()
    }
}
