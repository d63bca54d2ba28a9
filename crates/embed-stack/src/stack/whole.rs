//! A whole stack for a program that stays: `Router(route → Cached(back end))`, as `embed serve` has it.

use std::sync::Arc;

use embed_cache::Cache;
use embed_core::{EmbedRequest, EmbedResponse, Embedder, Error, Health, ModelInfo, Result, async_trait};
use embed_encoder::assets::DataHome;
use embed_router::{Route, Router};
use futures::future::try_join_all;

use super::backend::{Backend, Loader, RemoteConfig, servers};
use super::cache;
use super::follower::Follower;
use super::notice;
use super::router::{join, route, server_route};
use super::same_space::Members;
use crate::settings::{self, Document, EncoderSpec, ModelSpec, Settings};

/// The models of a document with the routes between them, and the cache in front of each. It is an [`Embedder`]: each row of a
/// response names the model and the space of its vector.
///
/// A program shares it as an `Arc` and calls [`finish`](Self::finish) before it ends.
#[derive(Debug)]
pub struct Stack {
    router: Arc<Router>,
    cache: Option<Cache>,
    _follower: Option<Follower>,
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
        let (loader, members) = (Loader::new(settings, home), Members::default());
        let builder = Builder { loader, document: &document, cache, members };
        // Models in this process first, since those of servers are compared with them.
        let encoders = document.encoders().map(|(model, spec)| builder.encoder(model, spec));
        let mut routes = try_join_all(encoders).await?;
        let servers = servers(&document, home).map(|(model, config)| builder.server(model, config));
        routes.extend(try_join_all(servers).await?);
        let router = Arc::new(join(settings, &document, routes, notice::log)?);
        Ok(Self { _follower: Follower::of(&router), router, cache: builder.cache })
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

/// What the routes of a stack are built with.
struct Builder<'a> {
    loader: Loader,
    document: &'a Document,
    cache: Option<Cache>,
    members: Members,
}

impl Builder<'_> {
    async fn encoder(&self, model: &ModelSpec, spec: &EncoderSpec) -> Result<Route> {
        let backend = Backend::Encoder(self.loader.encoder(model, spec).await?);
        self.members.admit(&backend).await?;
        Ok(route(model, self.cache.as_ref()).backend(backend).build())
    }

    /// The route to a model of servers, which may be there later.
    async fn server(&self, model: &ModelSpec, config: RemoteConfig) -> Result<Route> {
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
