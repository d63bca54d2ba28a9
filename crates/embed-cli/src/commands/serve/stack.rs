//! The stack that is served: metered, routed and cached, with handles to its pieces.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

use embed_cache::Cache;
use embed_core::{Embedder, Error, Stack};
use embed_encoder::Encoder;
use embed_encoder::assets::{DataHome, ModelFiles};
use embed_gateway::ModelEntry;
use embed_metrics::{BackendMeter, GatewayMetrics, Metrics, MetricsConfig};
use embed_router::{Route, Router};
use futures::future::try_join_all;

use super::labels;
use super::model_details;
use super::served_model::{self, LateModel, ServedModel};
use crate::settings::{self, BackendSpec, Document, EncoderSpec, ModelSpec, RouterSettings, Settings};
use crate::stack::{self, Backend, Follower, Loader, Members, RemoteConfig, cache};

/// `Router(route → Cached(Guarded(Metered(back end))))`, and handles to its pieces.
pub(super) struct ServedStack {
    pub(super) router: Arc<Router>,
    pub(super) cache: Option<Cache>,
    pub(super) metrics: Metrics,
    /// The series of HTTP requests, looked up once.
    pub(super) requests: GatewayMetrics,
    /// The models of the document, in its order.
    pub(super) models: Vec<ServedModel>,
    document: Document,
    settings: RouterSettings,
    loader: Arc<Loader>,
    limits: EngineLimits,
    labels: MetricsConfig,
    /// Follows the state file of the rollout.
    _follower: Option<Follower>,
}

/// What the models in this process share.
type EngineLimits = (Option<NonZeroUsize>, Option<u64>);

fn limits_of(settings: &Settings) -> EngineLimits {
    (settings.e5.threads, settings.memory_budget)
}

/// What the routes of a stack are built with.
struct Builder<'a> {
    loader: &'a Loader,
    home: &'a DataHome,
    document: &'a Document,
    metrics: &'a Metrics,
    cache: Option<&'a Cache>,
    members: Members,
    /// The stack whose place this one takes.
    before: Option<&'a ServedStack>,
}

impl ServedStack {
    /// Loads models and connects to servers. Of an earlier stack, it takes what stays the same: the cache, models whose files
    /// are the same, clients with the same settings.
    pub(super) async fn build(
        settings: &Settings,
        home: &DataHome,
        before: Option<&Self>,
    ) -> Result<Self, Error> {
        let document = settings::document(settings, home)?;
        let labels = labels::of(&document);
        let (metrics, requests) = match before.filter(|before| before.labels == labels) {
            Some(before) => (before.metrics.clone(), before.requests.clone()),
            None => {
                let metrics = Metrics::new(labels.clone())?;
                let requests = metrics.gateway();
                (metrics, requests)
            }
        };
        let cache = match before {
            Some(before) => before.cache.clone(),
            None => cache::open(settings).await?,
        };
        let before = before.filter(|before| before.limits == limits_of(settings));
        let loader = match before {
            Some(before) => Arc::clone(&before.loader),
            None => Arc::new(Loader::new(settings, home)),
        };
        let builder = Builder {
            loader: &loader,
            home,
            document: &document,
            metrics: &metrics,
            cache: cache.as_ref(),
            members: Members::default(),
            before,
        };
        // Models in this process first, since those of servers are compared with them.
        let encoders = document.encoders().map(|(model, spec)| builder.encoder(model, spec));
        let mut built = try_join_all(encoders).await?;
        let servers = stack::servers(&document, home).map(|(model, config)| builder.server(model, config));
        built.extend(try_join_all(servers).await?);
        let place =
            |served: &ServedModel| document.models.iter().position(|model| model.name == served.spec.name);
        built.sort_by_key(|(_, served)| place(served));
        let (routes, models) = built.into_iter().unzip();
        let router = Arc::new(stack::join(settings, &document, routes)?);
        let (settings, limits) = (settings.router.clone(), limits_of(settings));
        Ok(Self {
            _follower: Follower::of(&router),
            router,
            cache,
            metrics,
            requests,
            models,
            document,
            settings,
            loader,
            limits,
            labels,
        })
    }

    /// Whether these settings describe this stack, with the files that it was made of.
    pub(super) fn is_of(&self, settings: &Settings, home: &DataHome) -> Result<bool, Error> {
        let same = self.document == settings::document(settings, home)?
            && self.settings == settings.router
            && self.limits == limits_of(settings);
        Ok(same && self.encoders().all(|encoder| is_current(encoder, home)))
    }

    /// The models on offer, including those that aren't there yet, so that a name never changes its meaning. Each name is
    /// one space; of several, the first chooses by language, and the one for most languages is next.
    pub(super) fn entries(&self) -> Vec<ModelEntry> {
        let rest = self.router.model().variant();
        let mut offered: Vec<_> = self.models.iter().collect();
        offered.sort_by_key(|model| model.variant().is_none_or(|variant| variant != *rest));
        served_model::entries(&offered, &self.router)
    }

    /// The model that a back end would load, if it is loaded.
    fn encoder_of(&self, spec: &EncoderSpec, home: &DataHome) -> Option<Arc<Encoder>> {
        let is_same =
            |model: &&ServedModel| matches!(&model.spec.backend, BackendSpec::Encoder(of) if of == spec);
        let same = self.models.iter().find(is_same)?;
        same.encoder().filter(|encoder| is_current(encoder, home)).cloned()
    }

    /// The models in this process.
    pub(super) fn encoders(&self) -> impl Iterator<Item = &Arc<Encoder>> {
        self.models.iter().filter_map(ServedModel::encoder)
    }
}

impl fmt::Debug for ServedStack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServedStack({})", self.router)
    }
}

/// Whether the data folder has the files that a model was loaded from, and no newer ones.
fn is_current(encoder: &Encoder, home: &DataHome) -> bool {
    ModelFiles::find(home, encoder.profile(), encoder.precision()).is_ok_and(|files| encoder.is_of(&files))
}

impl Builder<'_> {
    /// A model in this process, and the route to it.
    async fn encoder(&self, model: &ModelSpec, spec: &EncoderSpec) -> Result<(Route, ServedModel), Error> {
        let known = self.before.and_then(|before| before.encoder_of(spec, self.home));
        let encoder = match known {
            Some(encoder) => encoder,
            None => {
                let started = Instant::now();
                let encoder = self.loader.encoder(model, spec).await?;
                self.metrics.model_loaded(encoder.model(), started.elapsed());
                encoder
            }
        };
        self.members.admit(&Backend::Encoder(Arc::clone(&encoder))).await?;
        let metered = Stack::new(Arc::clone(&encoder)).layer(BackendMeter(self.metrics.clone())).build();
        let route = stack::route(model, self.cache).backend(metered).build();
        Ok((route, ServedModel::here(model.clone(), encoder)))
    }

    /// A model of servers, which may be there later, and the route to it.
    async fn server(&self, model: &ModelSpec, config: RemoteConfig) -> Result<(Route, ServedModel), Error> {
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
        let route = stack::server_route(model, self.document, self.cache, connect).await?;
        Ok((route, ServedModel::late(model.clone(), late)))
    }
}
