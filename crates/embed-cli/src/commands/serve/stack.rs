//! The stack that is served: metered, routed, cached, and known piece by piece.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use embed_cache::Cache;
use embed_core::{Embedder, Error};
use embed_e5::assets::DataHome;
use embed_e5::{E5Embedder, Profile};
use embed_gateway::{ModelDetails, ModelEntry};
use embed_metrics::{Metered, Metrics, MetricsConfig};
use embed_ollama::OllamaEmbedder;
use embed_router::{ENGLISH_ROUTE, LanguageDetector, MULTILINGUAL_ROUTE, Route, Router};

use super::offer;
use crate::cache;
use crate::service::{self, Service};
use crate::settings::Settings;

/// `Router(route → Cached(Guarded(Metered(back end))))`, and handles to its pieces.
pub(super) struct ServedStack {
    pub(super) router: Arc<Router>,
    pub(super) cache: Option<Cache>,
    pub(super) metrics: Metrics,
    pub(super) e5: Option<Arc<E5Embedder>>,
    pub(super) e5_threads: u64,
    pub(super) ollama: Option<Arc<OllamaEmbedder>>,
    pub(super) ollama_pool: u64,
    /// What Ollama's clients show of the models.
    e5_details: ModelDetails,
    ollama_details: ModelDetails,
}

/// What callers name to let the language choose.
const AUTOMATIC: &str = "auto";

/// Tiers of the cache, which stand behind breakers as routes do.
const TIERS: [&str; 2] = ["memory", "redis"];

impl ServedStack {
    pub(super) async fn build(settings: &Settings, home: DataHome) -> Result<Self, Error> {
        let metrics = Metrics::new(metrics_config(settings))?;
        let cache = cache::open(settings).await?;
        let (e5, ollama) = (OnceLock::new(), OnceLock::new());
        let e5_route = async {
            let started = Instant::now();
            let loaded = Arc::new(settings.load_e5(home).await?);
            metrics.model_loaded(loaded.model(), started.elapsed());
            let route = route(MULTILINGUAL_ROUTE, &loaded, &metrics, cache.as_ref());
            e5.get_or_init(|| loaded);
            Ok(route)
        };
        let ollama_route = async {
            let started = Instant::now();
            let connected = Arc::new(settings.connect_ollama().await?);
            metrics.model_loaded(connected.model(), started.elapsed());
            let route = route(ENGLISH_ROUTE, &connected, &metrics, cache.as_ref());
            ollama.get_or_init(|| connected);
            Ok(route)
        };
        let router = Arc::new(settings.join(e5_route, ollama_route).await?);
        let threads = settings.e5.threads.unwrap_or_else(embed_e5::available_threads).get();
        let e5_details = e5.get().map(|e5| offer::of_e5(settings, e5)).unwrap_or_default();
        let ollama_details = match ollama.get() {
            Some(_) => offer::of_ollama(settings).await,
            None => ModelDetails::default(),
        };
        Ok(Self {
            router,
            cache,
            metrics,
            e5: e5.into_inner(),
            e5_threads: threads as u64,
            ollama: ollama.into_inner(),
            ollama_pool: settings.ollama.pool_size as u64,
            e5_details,
            ollama_details,
        })
    }

    /// The models on offer. Each name is one space; of several, the first chooses by language.
    pub(super) fn models(&self) -> Vec<ModelEntry> {
        let mut models = Vec::new();
        if let Some(e5) = &self.e5 {
            let hub = Profile::by_name(e5.model().name()).map(|profile| profile.repository);
            let entry = entry(e5.model().name(), e5.model(), MULTILINGUAL_ROUTE, &self.e5_details)
                .with_aliases(["e5"].into_iter().chain(hub))
                .with_tokenizer(Arc::new(offer::E5Tokens(Arc::clone(e5))));
            models.push(entry);
        }
        if let Some(ollama) = &self.ollama {
            let name = ollama.model().name();
            let hub = embed_ollama::hub_id(name).filter(|hub| !hub.eq_ignore_ascii_case(name));
            let entry = entry(name, ollama.model(), ENGLISH_ROUTE, &self.ollama_details);
            models.push(entry.with_aliases(hub));
        }
        if models.len() > 1 {
            let automatic = ModelEntry::new(AUTOMATIC, self.router.model().clone()).with_mixed_spaces(true);
            models.insert(0, automatic);
        }
        models
    }
}

fn entry(name: &str, model: &embed_core::ModelInfo, route: &str, details: &ModelDetails) -> ModelEntry {
    ModelEntry::new(name, model.clone()).with_route(route).with_details(details.clone())
}

fn route<E>(name: &str, embedder: &Arc<E>, metrics: &Metrics, cache: Option<&Cache>) -> Route
where
    E: Embedder + std::fmt::Display,
{
    service::route(name, Metered::backend(Arc::clone(embedder), metrics), cache)
}

fn metrics_config(settings: &Settings) -> MetricsConfig {
    let e5 = (MULTILINGUAL_ROUTE, settings.e5.profile.name);
    let ollama = (ENGLISH_ROUTE, settings.ollama.model.as_str());
    let models = match settings.service {
        Service::E5 => vec![e5],
        Service::Ollama => vec![ollama],
        Service::Hybrid => vec![ollama, e5],
    };
    let routes: Vec<&str> = models.iter().map(|(route, _)| *route).collect();
    let mut config = MetricsConfig::default()
        .with_routes(routes.iter().copied())
        .with_rules(LanguageDetector::rules())
        .with_tiers(TIERS)
        .with_parts(routes.iter().copied().chain(TIERS));
    for (service, model) in models {
        config = config.with_model(service, model);
    }
    // Set where releases are made. A build script that asks git would make the program anew at each commit.
    if let Some(revision) = option_env!("EMBED_REVISION").filter(|revision| !revision.is_empty()) {
        config = config.with_revision(revision);
    }
    config
}
