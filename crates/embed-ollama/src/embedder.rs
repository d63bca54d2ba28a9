//! The client as an [`Embedder`].

use std::fmt;
use std::sync::Arc;

use embed_core::{
    EmbedRequest, EmbedResponse, Embedder, Health, ModelInfo, Result, SingleSpace, async_trait,
};
use embed_remote::Refusal;
use futures::future::join_all;

use crate::config::OllamaConfig;
use crate::handshake::{Handshake, server_info};
use crate::identity::Identity;
use crate::profile::Profile;
use crate::server::Server;
use crate::servers::Fleet;
use crate::stats::OllamaStats;

/// A model on one Ollama server, or on several that give the same vectors.
///
/// It behaves by the version of each server, and so is right on all of them. A text's row is its vector or
/// its own error, whatever happens to the texts beside it.
pub struct OllamaEmbedder {
    fleet: Arc<Fleet>,
    model: ModelInfo,
}

/// What is known of one server.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ServerStatus {
    /// Its base URL.
    pub url: String,
    /// Its version, as it says it; `None` if it never answered.
    pub version: Option<String>,
    /// How it behaves.
    pub profile: Option<Profile>,
    /// Digest of the model's manifest.
    pub digest: Option<String>,
    /// Whether several texts go in one request.
    pub batches: bool,
    /// Whether the model is surely loaded.
    pub warm: bool,
    /// Whether it is left out because of failures.
    pub ejected: bool,
    /// Calls that are using it or wait for it.
    pub outstanding: usize,
}

impl OllamaEmbedder {
    /// Checks the settings and finds out who the servers are: version, model, dimension, and the vectors that prove who
    /// they are. The model is loaded by it, which may take minutes.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](embed_core::ErrorKind::Config) for a setting, which it names;
    /// [`ErrorKind::ModelNotFound`](embed_core::ErrorKind::ModelNotFound) with the command that fixes it;
    /// [`ErrorKind::SpaceMismatch`](embed_core::ErrorKind::SpaceMismatch) if servers give different vectors, or others
    /// than expected; what no server's absence explains is as in `docs/ollama-failures.md`.
    ///
    /// # Cancellation
    ///
    /// Dropping the future ends the requests; a load that has begun goes on, so that it needn't begin anew.
    pub async fn connect(config: OllamaConfig) -> Result<Self> {
        let (fleet, session) = Fleet::connect(config).await?;
        Ok(Self { model: session.facts.info.clone(), fleet: Arc::new(fleet) })
    }

    /// Loads the model at every server where it isn't loaded, so that the next call needn't wait.
    ///
    /// # Errors
    ///
    /// The last server's, if it can be loaded at none.
    ///
    /// # Cancellation
    ///
    /// A load that has begun goes on.
    pub async fn warm_up(&self) -> Result<()> {
        let loads = self.fleet.servers().iter().map(|server| async {
            match server.endpoint.last_session() {
                Some(session) => server.warm(&session.dialect).await.map_err(Refusal::from),
                None => Handshake::with(server, server_info(server).await?).await.map(drop),
            }
        });
        let mut failed = None;
        for load in join_all(loads).await {
            match load {
                Ok(()) => return Ok(()),
                Err(refusal) => failed = Some(refusal.into_error()),
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// What was done since it connected.
    #[must_use]
    pub fn stats(&self) -> OllamaStats {
        self.fleet.stats()
    }

    /// Who the servers are: keep it, and expect it of the next run by
    /// [`OllamaConfig::expected`](crate::OllamaConfig::expected).
    #[must_use]
    pub fn identity(&self) -> Option<Identity> {
        self.fleet.identity()
    }

    /// The servers, in the order of the settings.
    #[must_use]
    pub fn servers(&self) -> Vec<ServerStatus> {
        let status = |server: &Arc<Server>| {
            let session = server.endpoint.last_session();
            let session = session.as_deref();
            let (version, digest) = server.info().map(|info| (info.version, info.digest)).unzip();
            ServerStatus {
                url: server.http().base().to_owned(),
                version,
                profile: session.map(|session| session.dialect.traits.profile),
                digest,
                batches: session.is_some_and(|session| session.dialect.traits.batches),
                warm: server.is_warm(),
                ejected: server.endpoint.is_ejected(),
                outstanding: server.endpoint.outstanding(),
            }
        };
        self.fleet.servers().iter().map(status).collect()
    }

    /// Requests that could begin at once, over all servers: what the pool has free.
    #[must_use]
    pub fn free_permits(&self) -> usize {
        self.fleet.servers().iter().map(|server| server.endpoint.free_permits()).sum()
    }
}

impl SingleSpace for OllamaEmbedder {}

#[async_trait]
impl Embedder for OllamaEmbedder {
    fn model(&self) -> &ModelInfo {
        &self.model
    }

    async fn embed(&self, request: EmbedRequest) -> Result<EmbedResponse> {
        embed_remote::embed(&*self.fleet, &self.model, &request).await
    }

    async fn health(&self) -> Health {
        self.fleet.health().await
    }
}

impl fmt::Display for OllamaEmbedder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ollama({})", self.model.name())
    }
}

impl fmt::Debug for OllamaEmbedder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OllamaEmbedder")
            .field("model", &self.model)
            .field("servers", &self.servers())
            .finish_non_exhaustive()
    }
}
