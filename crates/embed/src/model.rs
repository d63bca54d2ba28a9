//! A model in the process, by its name.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use embed_core::{Error, ErrorKind, Result};
use embed_encoder::assets::DataHome;
use embed_encoder::{Encoder, EncoderConfig, Precision, Profile};

#[cfg(feature = "pull")]
use crate::pull::{Fetch, fetch_setters};

/// What to do about a model that isn't in the data folder.
#[cfg(feature = "pull")]
const FIX: &str = "`Pull::Missing` fetches it";
#[cfg(not(feature = "pull"))]
const FIX: &str = "the feature `pull` of the crate `embed` fetches it";

/// Which model to load, and how. A name is enough: `ModelBuilder::from("all-minilm-l6-v2")`, as [`model`] makes it.
///
/// ```no_run
/// # async fn example() -> embed::Result<()> {
/// let model = embed::model("all-minilm-l6-v2").precision(embed::Precision::F32).load().await?;
/// # Ok(()) }
/// ```
///
/// A [`Profile`] is a model that isn't built in. An [`EncoderConfig`] has the settings that have no method here.
#[derive(Debug, Clone)]
#[must_use = "nothing is loaded before `load`"]
pub struct ModelBuilder {
    /// `Err` if there is no model of that name.
    config: Result<EncoderConfig>,
    #[cfg(feature = "pull")]
    fetch: Fetch,
}

/// Loads a model with the defaults: int8, every processor that the process may use, the data folder of `EMBED_HOME` or the
/// platform. With the feature `pull`, what it needs is fetched first where it is missing.
///
/// Loading takes a moment also when the files are there, so keep the [`Encoder`], and share it as an `Arc`.
///
/// # Errors
///
/// As [`ModelBuilder::load`].
pub async fn load(model: impl Into<ModelBuilder>) -> Result<Encoder> {
    model.into().load().await
}

/// A model by its name (`multilingual-e5-small`), its space, or its repository on the hub. That there is none of that name is
/// an error of [`ModelBuilder::load`].
pub fn model(name: &str) -> ModelBuilder {
    name.into()
}

impl From<&str> for ModelBuilder {
    fn from(name: &str) -> Self {
        Self::new(Profile::by_name(name).map(|profile| EncoderConfig::default().with_profile(profile)))
    }
}

impl From<&'static Profile> for ModelBuilder {
    fn from(profile: &'static Profile) -> Self {
        EncoderConfig::default().with_profile(profile).into()
    }
}

impl From<EncoderConfig> for ModelBuilder {
    fn from(config: EncoderConfig) -> Self {
        Self::new(Ok(config))
    }
}

impl ModelBuilder {
    fn new(config: Result<EncoderConfig>) -> Self {
        Self {
            config,
            #[cfg(feature = "pull")]
            fetch: Fetch::default(),
        }
    }

    fn with(mut self, change: impl FnOnce(EncoderConfig) -> EncoderConfig) -> Self {
        self.config = self.config.map(change);
        self
    }

    /// Sets the arithmetic; by default [`Precision::Int8`].
    pub fn precision(self, precision: Precision) -> Self {
        self.with(|config| config.with_precision(precision))
    }

    /// Sets the number of threads that embed; by default one for each processor that the process may use.
    pub fn threads(self, threads: NonZeroUsize) -> Self {
        self.with(|config| config.with_threads(threads))
    }

    /// Sets the data folder, which need not exist; by default `EMBED_HOME`, else the folder `embed` below that of the platform
    /// for data.
    pub fn home(self, folder: impl Into<PathBuf>) -> Self {
        self.with(|config| config.with_home(DataHome::new(folder)))
    }

    #[cfg(feature = "pull")]
    fetch_setters!();

    /// Fetches what [`Pull`](crate::Pull) says, checks every byte of the model and of ONNX Runtime, loads them and starts the
    /// threads.
    ///
    /// It needs no runtime of its caller: both happen on threads of their own, under any executor.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::ModelNotFound`] if there is no such model, or if it isn't in the data folder and isn't to be fetched;
    /// [`ErrorKind::Config`] for what is wrong on this machine. If something had to be fetched, also what is wrong with its
    /// source: `Unavailable`, `Timeout`, `RateLimited`, `Unauthorized`, `Protocol`. Each names the fix.
    ///
    /// # Cancellation
    ///
    /// If the future is dropped, nothing more is fetched, and the next call goes on from there; a load that has begun is
    /// discarded when it ends.
    pub async fn load(self) -> Result<Encoder> {
        let config = self.config?;
        #[cfg(feature = "pull")]
        self.fetch.run(&config, None).await?;
        Encoder::load(config).await.map_err(with_fix)
    }
}

pub(crate) fn with_fix(error: Error) -> Error {
    match error.kind() {
        ErrorKind::ModelNotFound => error.with_context("fix", FIX),
        _ => error,
    }
}
