//! The stack that is served: metered, routed and cached, with handles to its pieces.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use embed_cache::Cache;
use embed_core::{Embedder, Error, ErrorKind, Stack};
use embed_encoder::Encoder;
use embed_encoder::assets::{DataHome, ModelFiles};
use embed_gateway::ModelEntry;
use embed_metrics::{BackendMeter, Metrics, MetricsConfig};
use embed_router::{Route, Router};
use futures::future::try_join_all;
use tokio::task::JoinHandle;

use super::labels;
use super::model_details;
use super::served_model::{self, LateModel, ServedModel};
use crate::settings::{self, BackendSpec, Document, ModelSpec, RouterSettings, Settings};
use crate::stack::{self, Backend, Loader, Members, RemoteConfig, cache};

/// `Router(route → Cached(Guarded(Metered(back end))))`, and handles to its pieces.
pub(super) struct ServedStack {
    pub(super) router: Arc<Router>,
    pub(super) cache: Option<Cache>,
    pub(super) metrics: Metrics,
    /// The models of the document, in its order.
    pub(super) models: Vec<ServedModel>,
    document: Document,
    settings: RouterSettings,
    loader: Arc<Loader>,
    limits: EngineLimits,
    labels: MetricsConfig,
    /// Follows the state file of the rollout.
    follower: Option<JoinHandle<()>>,
}

/// What the models in this process share.
type EngineLimits = (Option<NonZeroUsize>, Option<u64>);

fn limits_of(settings: &Settings) -> EngineLimits {
    (settings.e5.threads, settings.memory_budget)
}

/// How often the state file of a rollout is read.
const FOLLOW: Duration = Duration::from_secs(2);

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
        let metrics = match before.filter(|before| before.labels == labels) {
            Some(before) => before.metrics.clone(),
            None => Metrics::new(labels.clone())?,
        };
        let cache = match before {
            Some(before) => before.cache.clone(),
            None => cache::open(settings).await?,
        };
        let before = before.filter(|before| before.limits == limits_of(settings));
        let loader = match before {
            Some(before) => Arc::clone(&before.loader),
            None => Arc::new(Loader::new(settings, home)?),
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
        let (servers, encoders): (Vec<_>, Vec<_>) =
            document.models.iter().partition(|model| model.is_remote());
        let mut built = try_join_all(encoders.into_iter().map(|model| builder.encoder(model))).await?;
        built.extend(try_join_all(servers.into_iter().map(|model| builder.server(model))).await?);
        let place =
            |served: &ServedModel| document.models.iter().position(|model| model.name == served.spec.name);
        built.sort_by_key(|(_, served)| place(served));
        let (routes, models) = built.into_iter().unzip();
        let router = Arc::new(stack::join(settings, &document, routes)?);
        let follower = router.rollout().map(|rollout| {
            let trouble =
                |error: &Error| tracing::warn!(%error, "the state of the rollout can't be read or written");
            tokio::spawn(Arc::clone(rollout).follow(FOLLOW, trouble))
        });
        let (settings, limits) = (settings.router.clone(), limits_of(settings));
        Ok(Self { router, cache, metrics, models, document, settings, loader, limits, labels, follower })
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
    fn encoder_of(&self, backend: &BackendSpec, home: &DataHome) -> Option<Arc<Encoder>> {
        let same = self.models.iter().find(|model| model.spec.backend == *backend)?;
        same.encoder().filter(|encoder| is_current(encoder, home)).cloned()
    }

    /// The models in this process.
    pub(super) fn encoders(&self) -> impl Iterator<Item = &Arc<Encoder>> {
        self.models.iter().filter_map(ServedModel::encoder)
    }
}

impl Drop for ServedStack {
    fn drop(&mut self) {
        self.follower.iter().for_each(JoinHandle::abort);
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
    async fn encoder(&self, model: &ModelSpec) -> Result<(Route, ServedModel), Error> {
        let started = Instant::now();
        let known = self.before.and_then(|before| before.encoder_of(&model.backend, self.home));
        let backend = match known {
            Some(encoder) => Backend::Encoder(encoder),
            None => self.loader.load(model).await?,
        };
        self.members.admit(&backend).await?;
        self.metrics.model_loaded(backend.model(), started.elapsed());
        let metered = Stack::new(backend.clone()).layer(BackendMeter(self.metrics.clone())).build();
        let route = stack::route(model, self.cache).backend(metered).build();
        Ok((route, ServedModel::here(model.clone(), backend)))
    }

    /// A model of servers, which may be there later, and the route to it.
    async fn server(&self, model: &ModelSpec) -> Result<(Route, ServedModel), Error> {
        let Some(config) = RemoteConfig::of(model, self.home) else {
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
        let route = stack::server_route(model, self.document, self.cache, connect).await?;
        Ok((route, ServedModel::late(model.clone(), late)))
    }
}
