//! An encoder as an [`Embedder`].

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::thread;

use embed_core::{
    EmbedRequest, EmbedResponse, Embedder, Error, ErrorKind, Health, ModelInfo, Result, Role, RowInfo,
    SingleSpace, Truncation, Variant, async_trait,
};
use futures::channel::oneshot;

use crate::assets::{DataHome, ModelFiles, TOKENIZER_FILE};
use crate::engine::{Engine, Setup, too_late};
use crate::runtime::RuntimeLibrary;
use crate::session::{OrtModel, SessionFiles};
use crate::stats::{Counters, EncoderStats};
use crate::tokenizer::{TEXT_RULES, TextTokenizer};
use crate::tokens::{Token, TokenNames};
use crate::workers::LateTokenizer;
use crate::{EncoderConfig, Precision, Profile, Workers};

/// The most threads for one text. Two take 0.7 of the time of one for a query; every further one has to be waited for
/// after every product.
const MOST_THREADS_OF_A_TEXT: NonZeroUsize = NonZeroUsize::new(4).unwrap();

/// A model, ready to embed: loaded, or unloaded while nobody used it, until the next call.
///
/// The vector of a text depends only on the text, the role and the truncation, never on its neighbours in a request or on
/// other callers.
///
/// Dropping it waits for its runs in progress (tens of milliseconds), closes its sessions, and ends its threads if it shares
/// them with no other encoder.
pub struct Encoder {
    model: ModelInfo,
    profile: &'static Profile,
    precision: Precision,
    engine: Engine<LateTokenizer>,
    counters: Arc<Counters>,
    tokenizer: Arc<LateTokenizer>,
    vocabulary: TokenNames,
    model_bytes: u64,
}

impl Encoder {
    /// Checks the model's files, loads ONNX Runtime and the model, and starts the threads. This takes most of a second, on a
    /// separate thread.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::ModelNotFound`] if the model isn't in the data folder, [`ErrorKind::Config`] for
    /// everything else that is missing, damaged or set wrong; each names the fix.
    ///
    /// # Cancellation
    ///
    /// If the future is dropped, loading continues and its result is discarded.
    pub async fn load(config: EncoderConfig) -> Result<Self> {
        let (sender, receiver) = oneshot::channel();
        thread::Builder::new()
            .name("encoder-load".to_owned())
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
    pub fn load_blocking(config: EncoderConfig) -> Result<Self> {
        config.check()?;
        let home = config.home.clone().map_or_else(DataHome::from_env, Ok)?;
        let files = config.files(&home)?;
        let library = RuntimeLibrary::find(&home, config.runtime_library.as_deref())?;
        let workers = config.workers.clone().map_or_else(|| Workers::start((&config).into()), Ok)?;
        let counters = Arc::new(Counters::new(config.profile.prompts));
        let died = |_| Err(Error::new(ErrorKind::Internal, "a thread that loads the model died"));
        // The tokenizer takes as long as everything else, so it loads at the same time, as does the library. Nothing is
        // loaded unchecked.
        let late = Arc::new(LateTokenizer::default());
        let all_core = threads_of_a_text(workers.threads(), config.precision);
        let engine = thread::scope(|scope| {
            let tokenizer = scope.spawn(|| {
                files.verify(|name| name == TOKENIZER_FILE)?;
                TextTokenizer::open(&files.tokenizer, config.profile, config.max_text_bytes)
            });
            let environment = scope.spawn(|| library.environment());
            files.verify(|name| name != TOKENIZER_FILE)?;
            let session = SessionFiles {
                environment: environment.join().unwrap_or_else(died)?,
                files: files.clone(),
                dimension: config.profile.dimension,
                pooling: config.profile.pooling,
                precision: config.precision,
                // Not those of OpenVINO, which packs in its own way.
                shares: all_core.is_some(),
                weights: Mutex::default(),
            };
            let setup = Setup {
                all_core,
                keep_alive: config.keep_alive,
                bytes: files.model_bytes,
                max_windows: config.max_windows,
                normalisation: config.profile.normalisation,
                open: Box::new(move |threads| Ok(Box::new(OrtModel::open(&session, threads)?))),
                counters: Arc::clone(&counters),
            };
            let engine = Engine::start(setup, Arc::clone(&late), workers.shared())?;
            let tokenizer = tokenizer.join().unwrap_or_else(|_| {
                Err(Error::new(ErrorKind::Internal, "the thread that loads the tokenizer died"))
            })?;
            late.set(tokenizer);
            Ok::<_, Error>(engine)
        })?;
        let model = model_info(config.profile, config.precision, &files);
        let model_bytes = files.model_bytes;
        let EncoderConfig { profile, precision, .. } = config;
        let (tokenizer, vocabulary) = (late, TokenNames::new(files));
        Ok(Self { model, profile, precision, engine, counters, tokenizer, vocabulary, model_bytes })
    }

    /// Statistics since the model was loaded.
    #[must_use]
    pub fn stats(&self) -> EncoderStats {
        self.counters.read()
    }

    /// All tokens that the model reads for a text in a role: the special ones, those of the prefix and those of the text. The
    /// first call reads the vocabulary, which takes a moment.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] for a text that can't be embedded, [`ErrorKind::InputTooLong`] for one beyond
    /// [`max_text_bytes`](EncoderConfig::max_text_bytes), [`ErrorKind::Config`] if the tokenizer's file is damaged.
    pub fn tokenise(&self, text: &str, role: Role) -> Result<Vec<Token>> {
        let tokenizer = self.tokenizer.loaded()?;
        self.vocabulary.tokens(text, &tokenizer.tokenise(text, role, Truncation::ChunkMean)?)
    }

    /// The text that tokens stand for, normalised as the model reads it; with or without the special ones.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] for an id that no token has, [`ErrorKind::Config`] if the tokenizer's file is
    /// damaged.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String> {
        self.vocabulary.text(ids, skip_special)
    }

    /// What the model is.
    #[must_use]
    pub fn profile(&self) -> &'static Profile {
        self.profile
    }

    /// The precision that it runs in.
    #[must_use]
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Whether it was loaded from files of these bytes, so that loading them again would change no vector.
    #[must_use]
    pub fn is_of(&self, files: &ModelFiles) -> bool {
        model_info(self.profile, self.precision, files).variant() == self.model.variant()
    }

    /// Bytes of the model's file.
    #[must_use]
    pub fn model_bytes(&self) -> u64 {
        self.model_bytes
    }

    /// Bytes that the model is taken to need while it is loaded: those of its file, which all its sessions share. Not counted
    /// are what each thread has of its own (up to 9 MB for a small model, after texts of 512 tokens) and the tokenizer, which
    /// stays.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.model_bytes
    }

    /// Whether the model is loaded, at least in a session for one thread.
    #[must_use]
    pub fn is_loaded(&self) -> bool {
        self.engine.is_loaded()
    }

    /// Closes the sessions of the model, which gives their memory back; the tokenizer stays. Runs in progress end first. The
    /// next call loads the model again, on a separate thread; until then it waits, within its deadline, and calls of other
    /// encoders on the same workers go on. If that load fails, the calls that wait for it fail with its error, and the next
    /// one tries again. Calls that wait already have the model loaded again at once.
    pub fn unload(&self) {
        self.engine.unload();
    }

    /// Threads that embed, for this encoder and for those that it shares them with.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.engine.workers()
    }
}

/// The threads of the all-core model, if there should be one.
fn threads_of_a_text(threads: usize, precision: Precision) -> Option<NonZeroUsize> {
    match precision {
        // OpenVINO has its own threads.
        #[cfg(feature = "openvino")]
        Precision::Bf16 => None,
        Precision::Int8 | Precision::F32 | Precision::Mixed => NonZeroUsize::new(threads)
            .filter(|threads| threads.get() > 1)
            .map(|threads| threads.min(MOST_THREADS_OF_A_TEXT)),
    }
}

fn model_info(profile: &Profile, precision: Precision, files: &ModelFiles) -> ModelInfo {
    let variant = Variant::new(
        profile.space(),
        [
            ("weights", short_digest(&files.model_sha256)),
            ("precision", profile.precision_label(precision)),
            ("tokenizer", short_digest(&files.tokenizer_sha256)),
            ("text", TEXT_RULES),
        ],
    );
    ModelInfo::builder(profile.family, profile.name, variant).max_tokens(profile.max_tokens).build()
}

/// The first 64 bits, which are enough to distinguish a handful of files and keep ids readable.
fn short_digest(sha256: &str) -> &str {
    sha256.get(..16).unwrap_or(sha256)
}

impl SingleSpace for Encoder {}

#[async_trait]
impl Embedder for Encoder {
    fn model(&self) -> &ModelInfo {
        &self.model
    }

    async fn embed(&self, request: EmbedRequest) -> Result<EmbedResponse> {
        let mut call = self.engine.submit(&request)?;
        // A timeout is an answer, too: the rows that are ready are kept.
        call.finished().await;
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
        let (broken, all) = (self.engine.broken_workers(), self.engine.workers());
        let reason = || {
            Error::new(ErrorKind::Unavailable, "models of the engine broke and are being opened anew")
                .with_context("broken", broken)
                .with_context("of", all)
        };
        match broken {
            0 => Health::ready(),
            broken if broken < all => Health::degraded(reason()),
            _ => Health::unavailable(reason()),
        }
    }
}

impl fmt::Display for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Encoder({})", self.model.name())
    }
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder")
            .field("model", &self.model)
            .field("engine", &self.engine)
            .finish_non_exhaustive()
    }
}
