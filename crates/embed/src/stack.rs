//! A whole stack from settings: the models of a file, in this process or at servers, the routes to them by language, and a
//! cache in front of each. The file is that of the command `embed`, whose documentation has every setting.
//!
//! ```toml
//! [[model]]
//! name = "all-minilm-l6-v2"
//! languages = ["en"]
//!
//! [[model]]
//! name = "multilingual-e5-small"
//!
//! [routes]
//! en = "all-minilm-l6-v2"
//! "*" = "multilingual-e5-small"
//! ```
//!
//! ```no_run
//! # async fn example() -> embed::Result<()> {
//! use embed::EmbedderExt;
//!
//! let stack = embed::stack::from_file("embed.toml").await?;
//! let japanese = stack.encode_document("富士山の高さは3776メートルです。").await?;
//! // One vector for each space that documents are in.
//! let plan = stack.router().plan_query("how high is Mount Fuji").await?;
//! stack.finish().await?;
//! # Ok(()) }
//! ```
//!
//! The sections `[gateway]` and `[log]` are those of `embed serve`: they may be in the file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use embed_core::{Error, Result};
use embed_encoder::assets::DataHome;
#[cfg(feature = "pull")]
use embed_stack::settings::EncoderSource;

use crate::model::with_fix;
#[cfg(feature = "pull")]
use crate::pull::{Fetch, fetch_setters};

pub use embed_stack::{Settings, Stack, settings};

/// Settings of which a stack is made, and how. [`file()`] and [`env()`] begin one, as do [`Settings`].
///
/// ```no_run
/// # async fn example() -> embed::Result<()> {
/// let stack = embed::stack::file("embed.toml").home("/var/lib/embed").load().await?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "nothing is loaded before `load`"]
pub struct StackBuilder {
    settings: Result<Settings>,
    home: Option<PathBuf>,
    #[cfg(feature = "pull")]
    fetch: Fetch,
}

/// The stack of a file of settings, with the defaults of [`StackBuilder`]. Variables win over the file, as with the command
/// `embed --config FILE`; [`settings::read_file`] reads a file alone.
///
/// # Errors
///
/// As [`StackBuilder::load`].
pub async fn from_file(path: impl AsRef<Path>) -> Result<Stack> {
    file(path).load().await
}

/// The stack of the environment: its variables `TMWS_…`, over the file that `TMWS_CONFIG` names, or the one in the usual place
/// if there is one. Without either it is multilingual E5 in this process.
///
/// # Errors
///
/// As [`StackBuilder::load`].
pub async fn from_env() -> Result<Stack> {
    env().load().await
}

/// The stack of settings, with the defaults of [`StackBuilder`].
///
/// # Errors
///
/// As [`StackBuilder::load`].
pub async fn from_settings(settings: Settings) -> Result<Stack> {
    StackBuilder::from(settings).load().await
}

/// What [`from_file`] loads, to be said more about. That the file is wrong is an error of [`StackBuilder::load`].
pub fn file(path: impl AsRef<Path>) -> StackBuilder {
    StackBuilder::new(read(Some(path.as_ref())))
}

/// What [`from_env`] loads, to be said more about.
pub fn env() -> StackBuilder {
    StackBuilder::new(read(None))
}

fn read(file: Option<&Path>) -> Result<Settings> {
    settings::read(file, &BTreeMap::new()).map_err(Error::from)
}

impl From<Settings> for StackBuilder {
    fn from(settings: Settings) -> Self {
        Self::new(Ok(settings))
    }
}

impl StackBuilder {
    fn new(settings: Result<Settings>) -> Self {
        Self {
            settings,
            home: None,
            #[cfg(feature = "pull")]
            fetch: Fetch::default(),
        }
    }

    /// Sets the data folder, which need not exist; by default `EMBED_HOME`, else the folder `embed` below that of the platform
    /// for data.
    pub fn home(mut self, folder: impl Into<PathBuf>) -> Self {
        self.home = Some(folder.into());
        self
    }

    #[cfg(feature = "pull")]
    fetch_setters!();

    /// Fetches what `Pull` says for the models in this process, loads them, and connects to servers, of which
    /// one that doesn't answer is looked for while the stack is used. It must be called in a tokio runtime, which the stack
    /// uses as long as it lives; a program without one takes [`blocking::stack`](crate::blocking::stack).
    ///
    /// # Errors
    ///
    /// [`Config`](embed_core::ErrorKind::Config) for what is wrong with the settings, with its file and line, or its variable;
    /// otherwise as [`Stack::build`], and as [`ModelBuilder::load`](crate::ModelBuilder::load) for what is fetched.
    ///
    /// # Cancellation
    ///
    /// As [`ModelBuilder::load`](crate::ModelBuilder::load).
    pub async fn load(self) -> Result<Stack> {
        let settings = self.settings?;
        let home = self.home.map_or_else(DataHome::from_env, |folder| Ok(DataHome::new(folder)))?;
        #[cfg(feature = "pull")]
        for (_, encoder) in settings::document(&settings, &home)?.encoders() {
            let config = settings.e5.clone().with_home(home.clone()).with_precision(encoder.precision);
            let (config, custom) = match &encoder.source {
                EncoderSource::Known(profile) => (config.with_profile(profile), None),
                EncoderSource::Custom(custom) => (config, Some(custom)),
            };
            self.fetch.clone().run(&config, custom).await?;
        }
        Stack::build(&settings, &home).await.map_err(with_fix)
    }
}
