//! The stack that is served: metered, routed and cached, with handles to its pieces.

use std::sync::Arc;
use std::time::{Duration, Instant};

use embed_cache::Cache;
use embed_core::{Embedder, Error, ErrorKind, Stack};
use embed_encoder::Encoder;
use embed_encoder::assets::DataHome;
use embed_gateway::ModelEntry;
use embed_metrics::{BackendMeter, Metrics};
use embed_router::{Route, Router};
use futures::future::try_join_all;

use super::labels;
use super::model_details;
use super::served_model::{self, LateModel, ServedModel};
use crate::settings::{Document, ModelSpec, Settings};
use crate::stack::{self, Backend, Members, RemoteConfig, cache};

/// `Router(route → Cached(Guarded(Metered(back end))))`, and handles to its pieces.
pub(super) struct ServedStack {
    pub(super) router: Arc<Router>,
    pub(super) cache: Option<Cache>,
    pub(super) metrics: Metrics,
    /// The models of the document, in its order.
    pub(super) models: Vec<ServedModel>,
}

/// How long a call holds on to a server that doesn't answer, where another model takes over.
const OUTAGE_WITH_FALLBACK: Duration = Duration::from_millis(200);

/// What the routes of a stack are built with.
struct Builder<'a> {
    settings: &'a Settings,
    home: &'a DataHome,
    document: &'a Document,
    metrics: &'a Metrics,
    cache: Option<&'a Cache>,
    members: Members,
}

impl ServedStack {
    pub(super) async fn build(settings: &Settings, home: &DataHome) -> Result<Self, Error> {
        let document = settings.document(home)?;
        let metrics = Metrics::new(labels::of(&document))?;
        let cache = cache::open(settings).await?;
        let builder = Builder {
            settings,
            home,
            document: &document,
            metrics: &metrics,
            cache: cache.as_ref(),
            members: Members::default(),
        };
        // Models in this process first, since those of servers are compared with them.
        let (servers, encoders): (Vec<_>, Vec<_>) =
            document.models.iter().partition(|model| model.is_remote());
        let mut built = try_join_all(encoders.into_iter().map(|model| builder.encoder(model))).await?;
        built.extend(try_join_all(servers.into_iter().map(|model| builder.server(model))).await?);
        let place = |served: &ServedModel| document.models.iter().position(|model| model.name == served.spec.name);
        built.sort_by_key(|(_, served)| place(served));
        let (routes, models) = built.into_iter().unzip();
        let router = Arc::new(stack::join(settings, &document, routes)?);
        Ok(Self { router, cache, metrics, models })
    }

    /// The models on offer, including those that aren't there yet, so that a name never changes its meaning. Each name is
    /// one space; of several, the first chooses by language, and the one for most languages is next.
    pub(super) fn entries(&self) -> Vec<ModelEntry> {
        let rest = self.router.model().variant();
        let mut offered: Vec<_> = self.models.iter().collect();
        offered.sort_by_key(|model| model.variant().is_none_or(|variant| variant != *rest));
        served_model::entries(&offered, &self.router)
    }

    /// The models in this process.
    pub(super) fn encoders(&self) -> impl Iterator<Item = &Encoder> {
        self.models.iter().filter_map(ServedModel::encoder)
    }
}

impl Builder<'_> {
    /// A model in this process, and the route to it.
    async fn encoder(&self, model: &ModelSpec) -> Result<(Route, ServedModel), Error> {
        let started = Instant::now();
        let backend = Box::pin(Backend::of(model, self.settings, self.home)).await?;
        self.members.admit(&backend).await?;
        self.metrics.model_loaded(backend.model(), started.elapsed());
        let metered = Stack::new(backend.clone()).layer(BackendMeter(self.metrics.clone())).build();
        let route = stack::route(model, self.cache).backend(metered).build();
        Ok((route, ServedModel::here(model.clone(), backend)))
    }

    /// A model of servers, which may be there later, and the route to it.
    async fn server(&self, model: &ModelSpec) -> Result<(Route, ServedModel), Error> {
        let config = RemoteConfig::of(model).map(|config| match model.fallback {
            Some(_) => config.with_longest_outage(OUTAGE_WITH_FALLBACK),
            None => config,
        });
        let Some(config) = config else {
            return Err(Error::new(ErrorKind::Internal, "a model of this process was taken for a server's"));
        };
        let late = LateModel::default();
        let (metrics, slot, members) = (self.metrics.clone(), late.clone(), self.members.clone());
        let connect = move || {
            let (config, metrics) = (config.clone(), metrics.clone());
            let (slot, members) = (slot.clone(), members.clone());
            async move {
                let started = Instant::now();
                let backend = config.clone().connect().await?;
                members.admit(&backend).await?;
                metrics.model_loaded(backend.model(), started.elapsed());
                let details = model_details::of_server(&config).await;
                let metered = Stack::new(backend.clone()).layer(BackendMeter(metrics)).build();
                slot.set(backend, details);
                Ok::<_, Error>(metered)
            }
        };
        let route = stack::route(model, self.cache);
        let served = ServedModel::late(model.clone(), late);
        match connect().await {
            Ok(metered) => Ok((route.backend(metered).build(), served)),
            // Clients have stored its vectors, so its texts go to the same model elsewhere, or wait for it.
            Err(reason) if stack::is_absence(&reason) => {
                let route = route.connecting(served.described(), reason, connect);
                let fallback = model.fallback.as_deref().and_then(|name| self.document.model(name));
                let route = match fallback {
                    Some(fallback) if !fallback.is_remote() => route.same_space_fallback(fallback.name.as_str()),
                    _ => route,
                };
                Ok((route.build(), served))
            }
            Err(error) => Err(error),
        }
    }
}
