//! Fetches what a model needs, on a thread with an async runtime of its own, so that the caller may have any or none.

use std::sync::Arc;
use std::thread;

use embed_assets::{Progress, PullOptions, Silent, pull_custom, pull_model, pull_runtime};
use embed_core::{Error, ErrorKind, Result};
use embed_encoder::assets::{DataHome, ModelFiles};
use embed_encoder::{CustomModel, EncoderConfig, RuntimeLibrary};
use tokio::runtime;
use tokio::sync::oneshot;

/// What is fetched before a model is loaded: the model, and the ONNX Runtime library where neither the program nor
/// `ORT_DYLIB_PATH` names one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pull {
    /// What is not in the data folder; nor, in the case of the library, on the system. If nothing is missing, this costs
    /// nothing and uses no network.
    #[default]
    Missing,
    /// Also what is damaged, and what this version would make otherwise, as with `embed models pull`. Every byte is checked
    /// for it.
    Current,
    /// Nothing.
    Never,
}

/// How it is fetched.
#[derive(Debug, Clone)]
pub(crate) struct Fetch {
    pub(crate) pull: Pull,
    /// `None` for what the environment says.
    pub(crate) options: Option<PullOptions>,
    pub(crate) progress: Arc<dyn Progress>,
}

impl Default for Fetch {
    fn default() -> Self {
        Self { pull: Pull::default(), options: None, progress: Arc::new(Silent) }
    }
}

impl Fetch {
    /// Returns when everything that is to be fetched is there: the model of the configuration, or in place of it a declared
    /// one. If the future is dropped, the thread gives up.
    pub(crate) async fn run(self, config: &EncoderConfig, custom: Option<&CustomModel>) -> Result<()> {
        let home = config.home.clone().map_or_else(DataHome::from_env, Ok)?;
        let idle = match self.pull {
            Pull::Never => true,
            Pull::Missing => {
                !is_missing(&home, config, custom)
                    && !matches!(find(&home, config), Ok(RuntimeLibrary::System(_)))
            }
            Pull::Current => false,
        };
        if idle {
            return Ok(());
        }
        let (config, custom) = (config.clone(), custom.cloned());
        let (mut sender, receiver) = oneshot::channel();
        let work = move || {
            let outcome = runtime().and_then(|runtime| {
                runtime.block_on(async {
                    tokio::select! {
                        outcome = self.fetch(&home, &config, custom.as_ref()) => outcome,
                        () = sender.closed() => Ok(()),
                    }
                })
            });
            // Nobody waits any more if this fails.
            let _ = sender.send(outcome);
        };
        thread::Builder::new().name("embed-pull".to_owned()).spawn(work).map_err(|error| {
            Error::new(ErrorKind::Unavailable, "the system gives no thread to fetch the model")
                .with_source(error)
        })?;
        let died = || Error::new(ErrorKind::Internal, "the thread that fetches the model died");
        receiver.await.unwrap_or_else(|_| Err(died()))
    }

    async fn fetch(
        &self,
        home: &DataHome,
        config: &EncoderConfig,
        custom: Option<&CustomModel>,
    ) -> Result<()> {
        let current = self.pull == Pull::Current;
        let options = self.options.clone().map_or_else(PullOptions::from_env, Ok)?;
        let library_is_due = match find(home, config) {
            Ok(library @ RuntimeLibrary::System(_)) => current || library.start().is_err(),
            Ok(RuntimeLibrary::DataHome(_)) | Err(_) => current,
            Ok(_) => false,
        };
        if library_is_due {
            pull_runtime(home, &options, &*self.progress).await?;
        }
        // A new model embeds a text before it is put in place. A process has one library, and this is the one.
        find(home, config)?.start()?;
        if current || is_missing(home, config, custom) {
            let (precision, progress) = (config.precision, &*self.progress);
            match custom {
                Some(custom) => pull_custom(home, custom, precision, &options, progress).await?,
                None => pull_model(home, config.profile, precision, &options, progress).await?,
            };
        }
        Ok(())
    }
}

fn runtime() -> Result<runtime::Runtime> {
    runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
        Error::new(ErrorKind::Unavailable, "the system gives no async runtime to fetch the model")
            .with_source(error)
    })
}

fn find(home: &DataHome, config: &EncoderConfig) -> Result<RuntimeLibrary> {
    RuntimeLibrary::find(home, config.runtime_library.as_deref())
}

fn is_missing(home: &DataHome, config: &EncoderConfig, custom: Option<&CustomModel>) -> bool {
    let profile = custom.map_or(Ok(config.profile), |custom| custom.profile(home, config.precision));
    let found = profile.and_then(|profile| ModelFiles::find(home, profile, config.precision));
    found.is_err_and(|error| error.kind() == ErrorKind::ModelNotFound)
}

/// The methods of a builder that say what is fetched for it; it has a [`Fetch`] in its field `fetch`.
macro_rules! fetch_setters {
    () => {
        /// Sets what is fetched; by default what is missing.
        pub fn pull(mut self, pull: $crate::Pull) -> Self {
            self.fetch.pull = pull;
            self
        }

        /// Sets where it is fetched from, and with how much patience; by default
        /// [`PullOptions::from_env`](embed_assets::PullOptions::from_env).
        pub fn pull_options(mut self, options: embed_assets::PullOptions) -> Self {
            self.fetch.options = Some(options);
            self
        }

        /// Sets who follows what is fetched; by default nobody. It is called on another thread.
        pub fn progress(mut self, progress: impl embed_assets::Progress + 'static) -> Self {
            self.fetch.progress = std::sync::Arc::new(progress);
            self
        }
    };
}
pub(crate) use fetch_setters;
