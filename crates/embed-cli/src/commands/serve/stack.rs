//! The stack that is served: metered, routed and cached, with handles to its pieces.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use embed_cache::Cache;
use embed_core::{Embedder, Error, ModelInfo, Space, Stack, Variant};
use embed_encoder::assets::DataHome;
use embed_encoder::{Encoder, Precision, Profile};
use embed_gateway::{ModelDetails, ModelEntry, ModelSource};
use embed_metrics::{BackendMeter, Metrics, MetricsConfig};
use embed_ollama::OllamaEmbedder;
use embed_router::{ENGLISH_ROUTE, LanguageDetector, MULTILINGUAL_ROUTE, Router};

use super::model_details;
use crate::settings::{LOCAL_ENGLISH_ROUTE, ServiceChoice, Settings};
use crate::stack::{self, English, Joined, cache};

/// `Router(route → Cached(Guarded(Metered(back end))))`, and handles to its pieces.
pub(super) struct ServedStack {
    pub(super) router: Arc<Router>,
    pub(super) cache: Option<Cache>,
    pub(super) metrics: Metrics,
    pub(super) e5: Option<Arc<Encoder>>,
    pub(super) e5_threads: u64,
    /// The model in this process that reads English, if there is one.
    local: Option<Arc<Encoder>>,
    precision: Precision,
    english: English,
    pub(super) ollama: OllamaHandle,
    pub(super) ollama_pool: u64,
    /// Details of the models for Ollama's clients.
    e5_details: ModelDetails,
    /// The placeholder of Ollama's model if it wasn't there at the start.
    described: Option<ModelInfo>,
}

/// An Ollama that may start later than this process: empty until it answers.
#[derive(Debug, Clone, Default)]
pub(super) struct OllamaHandle(Arc<OnceLock<(Arc<OllamaEmbedder>, ModelDetails)>>);

impl OllamaHandle {
    pub(super) fn get(&self) -> Option<&OllamaEmbedder> {
        self.0.get().map(|(ollama, _)| &**ollama)
    }
}

impl ModelSource for OllamaHandle {
    fn look(&self) -> Option<(ModelInfo, ModelDetails)> {
        self.0.get().map(|(ollama, details)| (ollama.model().clone(), details.clone()))
    }
}

/// The model under the names that leave the choice to the router, when all its routes are there.
#[derive(Debug)]
struct Automatic {
    router: Arc<Router>,
    ollama: OllamaHandle,
}

impl ModelSource for Automatic {
    fn look(&self) -> Option<(ModelInfo, ModelDetails)> {
        self.ollama.get().map(|_| (self.router.model().clone(), ModelDetails::default()))
    }
}

/// The name that lets the language choose.
const AUTOMATIC: &str = "auto";

/// How long a call holds on to an Ollama that doesn't answer, where a model in this process takes over.
const OUTAGE_WITH_FALLBACK: Duration = Duration::from_millis(200);

/// Tiers of the cache, which have breakers as routes do.
const TIERS: [&str; 2] = ["memory", "redis"];

impl ServedStack {
    pub(super) async fn build(settings: &Settings, home: DataHome) -> Result<Self, Error> {
        let english = English::of(settings, &home);
        let metrics = Metrics::new(metrics_config(settings, english))?;
        let cache = cache::open(settings).await?;
        let (e5, ollama) = (OnceLock::new(), OllamaHandle::default());
        let absent = OnceLock::new();
        let local = match english.local() {
            Some(profile) => {
                Some(Box::pin(loaded(&metrics, stack::english::load(profile, settings, home.clone()))).await?)
            }
            None => None,
        };
        let route_to = |name, encoder: &Arc<Encoder>| {
            let metered = Stack::new(Arc::clone(encoder)).layer(BackendMeter(metrics.clone())).build();
            stack::route(name, cache.as_ref()).backend(metered).build()
        };
        let minilm = local.as_ref().map(|local| route_to(LOCAL_ENGLISH_ROUTE, local));
        let e5_route = async {
            let loaded = Box::pin(loaded(&metrics, stack::e5(settings, home))).await?;
            Ok(route_to(MULTILINGUAL_ROUTE, e5.get_or_init(|| loaded)))
        };
        let ollama_route = async {
            let mut config = settings.ollama.clone();
            if local.is_some() {
                config.longest_outage = OUTAGE_WITH_FALLBACK;
            }
            let (metrics, slot, local) = (metrics.clone(), ollama.clone(), local.clone());
            let connect = move || {
                let (config, metrics, slot) = (config.clone(), metrics.clone(), slot.clone());
                let local = local.clone();
                async move {
                    let started = Instant::now();
                    let connected = Arc::new(OllamaEmbedder::connect(config.clone()).await?);
                    if let Some(local) = local {
                        stack::english::check_same_space(&*connected, &local).await?;
                    }
                    metrics.model_loaded(connected.model(), started.elapsed());
                    let details = model_details::of_ollama(&config).await;
                    let metered = Stack::new(Arc::clone(&connected)).layer(BackendMeter(metrics)).build();
                    slot.0.get_or_init(|| (connected, details));
                    Ok::<_, Error>(metered)
                }
            };
            let route = stack::route(ENGLISH_ROUTE, cache.as_ref());
            match connect().await {
                Ok(metered) => Ok(route.backend(metered).build()),
                // Clients have stored its vectors, so its texts go to the same model in this process, or wait for it.
                Err(reason) if stack::is_absence(&reason) => {
                    let model = absent.get_or_init(|| described(&settings.ollama.model)).clone();
                    let route = route.connecting(model, reason, connect);
                    let route = if english.local().is_some() {
                        route.same_space_fallback(LOCAL_ENGLISH_ROUTE)
                    } else {
                        route
                    };
                    Ok(route.build())
                }
                Err(error) => Err(error),
            }
        };
        let router = Arc::new(
            stack::join(settings, Joined { english, e5: e5_route, ollama: ollama_route, minilm }).await?,
        );
        let threads = settings.e5.threads.unwrap_or_else(embed_encoder::available_threads).get();
        let e5_details = e5
            .get()
            .map(|e5| model_details::of_encoder(settings.e5.profile, settings.e5.precision, e5))
            .unwrap_or_default();
        Ok(Self {
            router,
            cache,
            metrics,
            e5: e5.into_inner(),
            e5_threads: threads as u64,
            local,
            precision: settings.e5.precision,
            english,
            ollama,
            ollama_pool: settings.ollama.pool_size as u64,
            e5_details,
            described: absent.into_inner(),
        })
    }

    /// The models on offer, including those that aren't there yet, so that a name never changes its meaning. Each name is
    /// one space; of several, the first chooses by language.
    pub(super) fn models(&self) -> Vec<ModelEntry> {
        let mut models = Vec::new();
        if let Some(e5) = &self.e5 {
            let hub = Profile::by_name(e5.model().name()).map(|profile| profile.repository);
            let entry = entry(e5.model().name(), e5.model(), MULTILINGUAL_ROUTE, &self.e5_details)
                .with_aliases(["e5"].into_iter().chain(hub))
                .with_tokenizer(Arc::new(model_details::EncoderTokens(Arc::clone(e5))));
            models.push(entry);
        }
        if let (English::Local(profile), Some(local)) = (self.english, &self.local) {
            let details = model_details::of_encoder(profile, self.precision, local);
            let entry = entry(profile.name, local.model(), LOCAL_ENGLISH_ROUTE, &details)
                .with_aliases([profile.space_name, profile.repository])
                .with_tokenizer(Arc::new(model_details::EncoderTokens(Arc::clone(local))));
            models.push(entry);
        }
        // What the server says of its model, once it is there; the placeholder until then.
        let met = self.ollama.look();
        let described = || Some((self.described.clone()?, ModelDetails::default()));
        if let Some((model, details)) = met.clone().or_else(described) {
            let name = model.name();
            let hub = embed_ollama::hub_id(name).filter(|hub| !hub.eq_ignore_ascii_case(name));
            let entry = entry(name, &model, ENGLISH_ROUTE, &details).with_aliases(hub);
            models.push(if met.is_some() { entry } else { entry.with_source(Arc::new(self.ollama.clone())) });
        }
        if models.len() > 1 {
            let automatic = ModelEntry::new(AUTOMATIC, self.router.model().clone()).with_mixed_spaces(true);
            let source = Automatic { router: Arc::clone(&self.router), ollama: self.ollama.clone() };
            let automatic = if met.is_some() { automatic } else { automatic.with_source(Arc::new(source)) };
            models.insert(0, automatic);
        }
        models
    }
}

/// Loads a model into this process, and records how long that took.
async fn loaded(
    metrics: &Metrics,
    load: impl Future<Output = Result<Encoder, Error>>,
) -> Result<Arc<Encoder>, Error> {
    let started = Instant::now();
    let loaded = Arc::new(load.await?);
    metrics.model_loaded(loaded.model(), started.elapsed());
    Ok(loaded)
}

fn entry(name: &str, model: &ModelInfo, route: &str, details: &ModelDetails) -> ModelEntry {
    ModelEntry::new(name, model.clone()).with_route(route).with_details(details.clone())
}

/// The placeholder of a model of Ollama until its server describes it.
fn described(model: &str) -> ModelInfo {
    let space = Space::builder(model, 1).build();
    ModelInfo::builder("ollama", model, Variant::new(space, [("met", "no")])).build()
}

fn metrics_config(settings: &Settings, english: English) -> MetricsConfig {
    let e5 = (MULTILINGUAL_ROUTE, settings.e5.profile.name);
    let ollama = (ENGLISH_ROUTE, settings.ollama.model.as_str());
    let models = match settings.service {
        ServiceChoice::E5 => vec![e5],
        ServiceChoice::Ollama => vec![ollama],
        ServiceChoice::Hybrid => {
            let local = english.local().map(|profile| (LOCAL_ENGLISH_ROUTE, profile.name));
            let server = (!matches!(english, English::Local(_))).then_some(ollama);
            server.into_iter().chain(local).chain([e5]).collect()
        }
    };
    let routes: Vec<&str> = models.iter().map(|(route, _)| *route).collect();
    let mut config = MetricsConfig::default()
        .with_routes(routes.iter().copied())
        // With one model, no language decides.
        .with_rules(LanguageDetector::rules().filter(|_| routes.len() > 1))
        .with_tiers(TIERS)
        .with_parts(routes.iter().copied().chain(TIERS));
    for (service, model) in models {
        config = config.with_model(service, model);
    }
    // Set where releases are built. A build script that asks git would rebuild the program at each commit.
    if let Some(revision) = option_env!("EMBED_REVISION").filter(|revision| !revision.is_empty()) {
        config = config.with_revision(revision);
    }
    config
}
