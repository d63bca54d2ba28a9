//! The back ends themselves: models in this process, and clients of servers.

use std::sync::Arc;
use std::time::Duration;

use embed_core::{
    EmbedRequest, EmbedResponse, Embedder, Error, ErrorKind, Health, ModelInfo, SingleSpace, async_trait,
};
use embed_encoder::assets::DataHome;
use embed_encoder::{Encoder, EncoderConfig, Workers, WorkersConfig};
use embed_ollama::{OllamaConfig, OllamaEmbedder};
use embed_openai::{OpenAiConfig, OpenAiEmbedder};

use super::identity::KeptIdentity;
use crate::settings::{BackendSpec, ModelSpec, Settings};

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
    ///
    /// # Errors
    ///
    /// If the system gives no threads.
    pub fn new(settings: &Settings, home: &DataHome) -> Result<Self, Error> {
        let config = settings.e5.clone().with_home(home.clone());
        let mut workers = WorkersConfig::default()
            .with_max_waiting_calls(config.max_waiting_calls)
            .with_max_waiting_bytes(config.max_waiting_bytes);
        workers.threads = config.threads;
        workers.memory_budget = settings.memory_budget;
        let config = config.with_workers(&Workers::start(workers)?);
        Ok(Self { config, home: home.clone() })
    }

    /// Loads a model into this process, or connects to its servers.
    ///
    /// # Errors
    ///
    /// As of the back end; a model that isn't there names its route.
    pub async fn load(&self, model: &ModelSpec) -> Result<Backend, Error> {
        match &model.backend {
            BackendSpec::Encoder(spec) => {
                let needed = |error: Error| match error.kind() {
                    ErrorKind::ModelNotFound => {
                        error.with_context("needed", format!("for the route {}", model.name))
                    }
                    _ => error,
                };
                let profile = spec.profile(&self.home).map_err(needed)?;
                let mut config = self.config.clone().with_profile(profile).with_precision(spec.precision);
                config.keep_alive = spec.keep_alive.or(config.keep_alive);
                let loaded = Box::pin(Encoder::load(config)).await.map_err(needed)?;
                Ok(Backend::Encoder(Arc::new(loaded)))
            }
            BackendSpec::Ollama(_) | BackendSpec::OpenAi(_) => match RemoteConfig::of(model, &self.home) {
                Some(config) => config.connect().await,
                None => Err(Error::new(ErrorKind::Internal, "a server's model has no servers")),
            },
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
    /// The configuration of a server's model; `None` for a model in this process. Where another model takes over, calls don't
    /// hold on for long to a server that doesn't answer.
    #[must_use]
    pub fn of(model: &ModelSpec, home: &DataHome) -> Option<Self> {
        let config = match &model.backend {
            BackendSpec::Encoder(_) => None,
            BackendSpec::Ollama(config) => Some(Self::Ollama(config.clone())),
            BackendSpec::OpenAi(config) => {
                Some(Self::OpenAi(config.clone(), KeptIdentity::new(home, &model.name)))
            }
        };
        config.map(|config| match model.fallback {
            Some(_) => config.with_longest_outage(OUTAGE_WITH_FALLBACK),
            None => config,
        })
    }

    /// Sets how long a call holds on to a server that doesn't answer.
    fn with_longest_outage(self, outage: Duration) -> Self {
        match self {
            Self::Ollama(config) => Self::Ollama(Box::new(config.with_longest_outage(outage))),
            Self::OpenAi(config, kept) => Self::OpenAi(Box::new(config.with_longest_outage(outage)), kept),
        }
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

/// The longest text that an embedder with these settings takes, in bytes.
#[must_use]
pub fn max_text_bytes() -> usize {
    EncoderConfig::default().max_text_bytes
}
