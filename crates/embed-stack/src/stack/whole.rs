//! A whole stack for a program that stays: `Router(route → Cached(back end))`, as `embed serve` has it.

use std::sync::Arc;
use std::time::Duration;

use embed_cache::Cache;
use embed_core::{EmbedRequest, EmbedResponse, Embedder, Error, Health, ModelInfo, Result, async_trait};
use embed_encoder::assets::DataHome;
use embed_router::{Route, Router};
use futures::future::try_join_all;
use tokio::task::JoinHandle;

use super::backend::{Loader, RemoteConfig};
use super::cache;
use super::notice;
use super::router::{join, route, server_route};
use super::same_space::Members;
use crate::settings::{self, Document, ModelSpec, Settings};

/// How often the state file of a rollout is read.
const FOLLOW: Duration = Duration::from_secs(2);

/// The models of a document with the routes between them, and the cache in front of each. It is an [`Embedder`]: each row of a
/// response names the model and the space of its vector.
///
/// A program shares it as an `Arc` and calls [`finish`](Self::finish) before it ends.
#[derive(Debug)]
pub struct Stack {
    router: Arc<Router>,
    cache: Option<Cache>,
    /// Follows the state file of the rollout.
    follower: Option<JoinHandle<()>>,
}

impl Stack {
    /// Loads the models of the settings from a data folder, and connects to servers. It must be called in a tokio runtime,
    /// which the stack uses as long as it lives.
    ///
    /// A server that doesn't answer is no failure: it is looked for while the stack is used. Its texts go to the model of the
    /// same space that stands in for it, or fail with [`Unavailable`](embed_core::ErrorKind::Unavailable) until it is there.
    /// Nor is a Redis, which is used from when it answers; both are warnings of `tracing`.
    ///
    /// # Errors
    ///
    /// [`ModelNotFound`](embed_core::ErrorKind::ModelNotFound) for a model that isn't in the data folder, and
    /// [`Config`](embed_core::ErrorKind::Config) for what is wrong with a model, the routes or this machine; also what a
    /// server says that answers and is set up wrongly.
    ///
    /// # Cancellation
    ///
    /// If the future is dropped, what has been loaded and connected is discarded.
    pub async fn build(settings: &Settings, home: &DataHome) -> Result<Self> {
        let document = settings::document(settings, home)?;
        let cache = cache::open(settings, notice::log).await?;
        let (loader, members) = (Loader::new(settings, home)?, Members::default());
        let builder = Builder { loader, home, document: &document, cache, members };
        // Models in this process first, since those of servers are compared with them.
        let (servers, encoders): (Vec<_>, Vec<_>) =
            document.models.iter().partition(|model| model.is_remote());
        let mut routes = try_join_all(encoders.into_iter().map(|model| builder.encoder(model))).await?;
        routes.extend(try_join_all(servers.into_iter().map(|model| builder.server(model))).await?);
        let router = Arc::new(join(settings, &document, routes, notice::log)?);
        let follower = router.rollout().map(|rollout| {
            let trouble =
                |error: &Error| tracing::warn!(%error, "the state of the rollout can't be read or written");
            tokio::spawn(Arc::clone(rollout).follow(FOLLOW, trouble))
        });
        Ok(Self { router, cache: builder.cache, follower })
    }

    /// The router, for plans, decisions and statistics.
    #[must_use]
    pub fn router(&self) -> &Arc<Router> {
        &self.router
    }

    /// The cache, for statistics; `None` if the settings turn it off.
    #[must_use]
    pub fn cache(&self) -> Option<&Cache> {
        self.cache.as_ref()
    }

    /// Waits up to ten seconds for what the cache still has to store. Call it before the program ends; the stack can be used
    /// further.
    ///
    /// # Errors
    ///
    /// What couldn't be stored.
    pub async fn finish(&self) -> Result<()> {
        cache::finish(self.cache.as_ref()).await
    }
}

#[async_trait]
impl Embedder for Stack {
    fn model(&self) -> &ModelInfo {
        self.router.model()
    }

    async fn embed(&self, request: EmbedRequest) -> Result<EmbedResponse> {
        self.router.embed(request).await
    }

    async fn health(&self) -> Health {
        self.router.health().await
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.follower.iter().for_each(JoinHandle::abort);
    }
}

/// What the routes of a stack are built with.
struct Builder<'a> {
    loader: Loader,
    home: &'a DataHome,
    document: &'a Document,
    cache: Option<Cache>,
    members: Members,
}

impl Builder<'_> {
    async fn encoder(&self, model: &ModelSpec) -> Result<Route> {
        let backend = self.loader.load(model).await?;
        self.members.admit(&backend).await?;
        Ok(route(model, self.cache.as_ref()).backend(backend).build())
    }

    /// The route to a model of servers, which may be there later.
    async fn server(&self, model: &ModelSpec) -> Result<Route> {
        let Some(config) = RemoteConfig::of(model, self.home) else { return self.encoder(model).await };
        let members = self.members.clone();
        let connect = move || {
            let (config, members) = (config.clone(), members.clone());
            async move {
                let backend = config.connect().await?;
                members.admit(&backend).await?;
                Ok::<_, Error>(backend)
            }
        };
        server_route(model, self.document, self.cache.as_ref(), connect).await
    }
}
