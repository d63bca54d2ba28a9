//! The client as an [`Embedder`].

use std::fmt;
use std::sync::Arc;

use embed_core::{
    EmbedRequest, EmbedResponse, Embedder, Health, ModelInfo, Result, SingleSpace, async_trait,
};
use embed_remote::Member;

use crate::config::OpenAiConfig;
use crate::fleet::Fleet;
use crate::identity::Identity;
use crate::stats::OpenAiStats;

/// A model on one server that speaks OpenAI's API, or on several that give the same vectors.
///
/// A text's row is its vector or its own error, whatever happens to the texts beside it.
pub struct OpenAiEmbedder {
    fleet: Arc<Fleet>,
    model: ModelInfo,
}

/// What is known of one server.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ServerStatus {
    /// Its base URL.
    pub url: String,
    /// What it calls its model.
    pub model: Option<String>,
    /// Whether it is left out because of failures.
    pub ejected: bool,
    /// Whether it asked to be left alone for now, or its limits are used up.
    pub throttled: bool,
    /// Calls that are using it or wait for it.
    pub outstanding: usize,
    /// Texts in one request, as far as it refused more.
    pub max_batch_rows: usize,
}

impl OpenAiEmbedder {
    /// Checks the settings and finds out who the servers are: the dimension, and the vectors that prove who they are.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](embed_core::ErrorKind::Config) for a setting, which it names;
    /// [`ErrorKind::SpaceMismatch`](embed_core::ErrorKind::SpaceMismatch) if servers give different vectors, or others
    /// than expected; [`ErrorKind::Unauthorized`](embed_core::ErrorKind::Unauthorized) and
    /// [`ErrorKind::ModelNotFound`](embed_core::ErrorKind::ModelNotFound) as the server says. That no server answers is an
    /// error unless [`dimension`](OpenAiConfig::dimension) is set.
    ///
    /// # Cancellation
    ///
    /// Dropping the future ends the requests.
    pub async fn connect(config: OpenAiConfig) -> Result<Self> {
        let (fleet, model) = Fleet::connect(config).await?;
        Ok(Self { model, fleet: Arc::new(fleet) })
    }

    /// What was done since it connected.
    #[must_use]
    pub fn stats(&self) -> OpenAiStats {
        self.fleet.stats()
    }

    /// Who the servers are: keep it, and expect it of the next run by [`OpenAiConfig::expected`]. `None` while none has
    /// answered.
    #[must_use]
    pub fn identity(&self) -> Option<Identity> {
        self.fleet.identity()
    }

    /// The servers, in the order of the settings.
    #[must_use]
    pub fn servers(&self) -> Vec<ServerStatus> {
        let servers = self.fleet.pool.servers().iter();
        servers
            .map(|server| ServerStatus {
                url: server.endpoint.http().base().to_owned(),
                model: server.endpoint.last_session().and_then(|session| session.name.clone()),
                ejected: server.endpoint.is_ejected(),
                throttled: server.is_throttled(),
                outstanding: server.endpoint.outstanding(),
                max_batch_rows: server.batch_limits().1,
            })
            .collect()
    }
}

impl SingleSpace for OpenAiEmbedder {}

#[async_trait]
impl Embedder for OpenAiEmbedder {
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

impl fmt::Display for OpenAiEmbedder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpenAi({})", self.model.name())
    }
}

impl fmt::Debug for OpenAiEmbedder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenAiEmbedder")
            .field("model", &self.model)
            .field("servers", &self.servers())
            .finish_non_exhaustive()
    }
}
