//! The back ends themselves: models in this process, and clients of servers.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use embed_core::{
    EmbedRequest, EmbedResponse, Embedder, Error, ErrorKind, Health, ModelInfo, SingleSpace, async_trait,
};
use embed_encoder::assets::DataHome;
use embed_encoder::{Encoder, EncoderConfig, Workers, WorkersConfig};
use embed_ollama::{OllamaConfig, OllamaEmbedder};
use embed_openai::{OpenAiConfig, OpenAiEmbedder};

use super::identity::KeptIdentity;
use crate::settings::{BackendSpec, Document, EncoderSpec, ModelSpec, Settings};

/// How long a call holds on to a server that doesn't answer, where another model takes over.
const OUTAGE_WITH_FALLBACK: Duration = Duration::from_millis(200);

/// A back end that is there.
#[derive(Debug, Clone)]
pub enum Backend {
    /// A model in this process.
    Encoder(Arc<Encoder>),
    /// Servers of Ollama.
    Ollama(Arc<OllamaEmbedder>),
    /// Servers that speak OpenAI's API.
    OpenAi(Arc<OpenAiEmbedder>),
}

/// Loads models into this process, where they share threads and a queue, and connects to servers.
#[derive(Debug)]
pub struct Loader {
    config: EncoderConfig,
    home: DataHome,
    limits: WorkersConfig,
    /// Started for the first model in this process.
    workers: Mutex<Option<Workers>>,
}

/// What connects to a server.
#[derive(Debug, Clone)]
pub enum RemoteConfig {
    /// Servers of Ollama.
    Ollama(Box<OllamaConfig>),
    /// Servers that speak OpenAI's API.
    OpenAi(Box<OpenAiConfig>, KeptIdentity),
}

impl Backend {
    /// Whether both are the same client or engine.
    pub(super) fn is(&self, other: &Self) -> bool {
        std::ptr::addr_eq(self.inner(), other.inner())
    }

    fn inner(&self) -> &dyn Embedder {
        match self {
            Self::Encoder(encoder) => &**encoder,
            Self::Ollama(ollama) => &**ollama,
            Self::OpenAi(openai) => &**openai,
        }
    }
}

impl Loader {
    /// A loader with the threads and limits of the settings.
    #[must_use]
    pub fn new(settings: &Settings, home: &DataHome) -> Self {
        let config = settings.e5.clone().with_home(home.clone());
        let mut limits = WorkersConfig::from(&config);
        limits.memory_budget = settings.memory_budget;
        Self { config, home: home.clone(), limits, workers: Mutex::default() }
    }

    /// Loads a model into this process, or connects to its servers.
    ///
    /// # Errors
    ///
    /// As of the back end; a model that isn't there names its route.
    pub async fn load(&self, model: &ModelSpec) -> Result<Backend, Error> {
        match &model.backend {
            BackendSpec::Encoder(spec) => self.encoder(model, spec).await.map(Backend::Encoder),
            BackendSpec::Ollama(config) => RemoteConfig::ollama(model, config).connect().await,
            BackendSpec::OpenAi(config) => RemoteConfig::openai(model, config, &self.home).connect().await,
        }
    }

    /// Loads a model into this process.
    ///
    /// # Errors
    ///
    /// As [`Encoder::load`]; a model that isn't there names its route. Also if the system gives no threads.
    pub async fn encoder(&self, model: &ModelSpec, spec: &EncoderSpec) -> Result<Arc<Encoder>, Error> {
        let needed = |error: Error| match error.kind() {
            ErrorKind::ModelNotFound => error.with_context("needed", format!("for the route {}", model.name)),
            _ => error,
        };
        let profile = spec.profile(&self.home).map_err(needed)?;
        let config = self.config.clone().with_profile(profile).with_precision(spec.precision);
        let mut config = config.with_workers(&self.workers()?);
        config.keep_alive = spec.keep_alive.or(config.keep_alive);
        Box::pin(Encoder::load(config)).await.map(Arc::new).map_err(needed)
    }

    fn workers(&self) -> Result<Workers, Error> {
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        match &*workers {
            Some(started) => Ok(started.clone()),
            None => Ok(workers.insert(Workers::start(self.limits.clone())?).clone()),
        }
    }
}

impl SingleSpace for Backend {}

#[async_trait]
impl Embedder for Backend {
    fn model(&self) -> &ModelInfo {
        self.inner().model()
    }

    async fn embed(&self, request: EmbedRequest) -> Result<EmbedResponse, Error> {
        self.inner().embed(request).await
    }

    async fn health(&self) -> Health {
        self.inner().health().await
    }
}

impl RemoteConfig {
    fn ollama(model: &ModelSpec, config: &OllamaConfig) -> Self {
        let longest_outage = longest_outage(model, config.longest_outage);
        Self::Ollama(Box::new(config.clone().with_longest_outage(longest_outage)))
    }

    fn openai(model: &ModelSpec, config: &OpenAiConfig, home: &DataHome) -> Self {
        let longest_outage = longest_outage(model, config.longest_outage);
        let config = config.clone().with_longest_outage(longest_outage);
        Self::OpenAi(Box::new(config), KeptIdentity::new(home, &model.name))
    }

    /// Connects to the servers. Those that speak OpenAI's API must be who they were in earlier runs, which the data folder
    /// keeps.
    ///
    /// # Errors
    ///
    /// As of the back end.
    pub async fn connect(self) -> Result<Backend, Error> {
        Ok(match self {
            Self::Ollama(config) => Backend::Ollama(Arc::new(OllamaEmbedder::connect(*config).await?)),
            Self::OpenAi(config, kept) => {
                let expected = kept.expected(&config)?;
                let connected =
                    OpenAiEmbedder::connect((*config).clone().with_expected(expected.clone())).await;
                let server = connected.map_err(|error| kept.explain(error))?;
                if let Some(identity) =
                    server.identity().filter(|identity| Some(identity) != expected.as_ref())
                {
                    kept.keep(&config, identity);
                }
                Backend::OpenAi(Arc::new(server))
            }
        })
    }
}

/// The models of servers, with what connects to them.
pub fn servers<'d>(
    document: &'d Document,
    home: &'d DataHome,
) -> impl Iterator<Item = (&'d ModelSpec, RemoteConfig)> {
    document.models.iter().filter_map(move |model| {
        let config = match &model.backend {
            BackendSpec::Encoder(_) => return None,
            BackendSpec::Ollama(config) => RemoteConfig::ollama(model, config),
            BackendSpec::OpenAi(config) => RemoteConfig::openai(model, config, home),
        };
        Some((model, config))
    })
}

/// Where another model takes over, calls don't hold on for long to a server that doesn't answer.
fn longest_outage(model: &ModelSpec, otherwise: Duration) -> Duration {
    if model.fallback.is_some() { OUTAGE_WITH_FALLBACK } else { otherwise }
}

/// The longest text that an embedder with these settings takes, in bytes.
#[must_use]
pub fn max_text_bytes() -> usize {
    EncoderConfig::default().max_text_bytes
}
