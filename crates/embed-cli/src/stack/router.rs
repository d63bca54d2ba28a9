//! The router over the routes of a service.

use std::io::{self, Write};
use std::sync::Arc;

use embed_cache::Cache;
use embed_core::{
    EmbedRequest, EmbedResponse, Embedder, Error, ErrorKind, Health, ModelInfo, Variant, async_trait,
};
use embed_encoder::Profile;
use embed_encoder::assets::DataHome;
use embed_router::{
    ENGLISH_ROUTE, LanguageDetector, MULTILINGUAL_ROUTE, Policy, Reads, RolloutConfig, RolloutFile, Route,
    RouteBuilder, Router, RouterConfig, ShadowConfig,
};

use super::backend;
use super::english::{self, English};
use crate::settings::{LOCAL_ENGLISH_ROUTE, ServiceChoice, Settings};

/// A router over the routes of the service, which may be one, each behind the cache if there is one.
pub(crate) async fn router(
    settings: &Settings,
    home: DataHome,
    cache: Option<&Cache>,
) -> Result<Router, Error> {
    let english = English::of(settings, &home);
    let local = match english.local() {
        Some(profile) => Some(Arc::new(english::load(profile, settings, home.clone()).await?)),
        None => None,
    };
    let e5 =
        async { Ok(route(MULTILINGUAL_ROUTE, cache).backend(backend::e5(settings, home).await?).build()) };
    let ollama = async {
        let ollama = backend::ollama(settings).await?;
        if let Some(local) = &local {
            english::check_same_space(&ollama, local).await?;
        }
        Ok(route(ENGLISH_ROUTE, cache).backend(ollama).build())
    };
    let minilm = local.clone().map(|local| route(LOCAL_ENGLISH_ROUTE, cache).backend(local).build());
    join(settings, Joined { english, e5, ollama, minilm }).await
}

/// A router that decides where texts go and can't embed them: E5 isn't loaded for it.
pub(crate) async fn decider(settings: &Settings, home: &DataHome) -> Result<Router, Error> {
    let english = English::of(settings, home);
    let unloaded = |name, profile| route(name, None).backend(UnloadedModel::new(profile)).build();
    let e5 = async { Ok(unloaded(MULTILINGUAL_ROUTE, settings.e5.profile)) };
    let ollama = async { Ok(route(ENGLISH_ROUTE, None).backend(backend::ollama(settings).await?).build()) };
    let minilm = english.local().map(|profile| unloaded(LOCAL_ENGLISH_ROUTE, profile));
    join(settings, Joined { english, e5, ollama, minilm }).await
}

/// The routes that a router may have. Those of services that aren't needed are never polled.
pub(crate) struct Joined<E, O> {
    pub(crate) english: English,
    pub(crate) e5: E,
    pub(crate) ollama: O,
    /// The one to the model in this process that reads English.
    pub(crate) minilm: Option<Route>,
}

/// A router over those routes that the service needs. In the hybrid service, the model in this process that reads English, or
/// else E5, is the fallback of an Ollama that is unavailable at the start. That suits a command that ends soon, and is
/// reported on standard error; a server passes a route that waits for Ollama.
pub(crate) async fn join(
    settings: &Settings,
    joined: Joined<impl Future<Output = Result<Route, Error>>, impl Future<Output = Result<Route, Error>>>,
) -> Result<Router, Error> {
    let Joined { english, e5, ollama, minilm } = joined;
    let (routes, policy) = match settings.service {
        ServiceChoice::E5 => (vec![e5.await?], Policy::everything_to(MULTILINGUAL_ROUTE)),
        ServiceChoice::Ollama => (vec![ollama.await?], Policy::everything_to(ENGLISH_ROUTE)),
        ServiceChoice::Hybrid if matches!(english, English::Local(_)) => {
            let routes = minilm.into_iter().chain([e5.await?]).collect();
            (routes, Policy::hybrid(LOCAL_ENGLISH_ROUTE, MULTILINGUAL_ROUTE))
        }
        ServiceChoice::Hybrid => {
            let has_local = minilm.is_some();
            let server = ollama.await.or_else(|reason| {
                // An Ollama that answers and is set up wrongly is an error for the operator.
                if !is_absence(&reason) {
                    return Err(reason);
                }
                let absent = route(ENGLISH_ROUTE, None).absent(reason);
                let absent = match has_local {
                    true => absent.same_space_fallback(LOCAL_ENGLISH_ROUTE),
                    false => absent.fallback(MULTILINGUAL_ROUTE),
                };
                Ok(absent.build())
            })?;
            ([server].into_iter().chain(minilm).chain([e5.await?]).collect(), Policy::default())
        }
    };
    let mut config = RouterConfig::default()
        .with_policy(policy)
        .with_cross_space(settings.router.cross_space)
        .with_pins(settings.router.pins.iter().map(|(partition, route)| (&**partition, &**route)).collect());
    if let Some(file) = &settings.router.rollout {
        let state = RolloutFile::new(file).read()?.ok_or_else(|| {
            Error::new(ErrorKind::Config, "there is no such rollout; `embed rollout start` begins one")
                .with_context("file", file.display())
        })?;
        // `embed rollout start` has explained what another space means.
        let rollout = RolloutConfig::new(state.from, state.to).with_salt(state.salt).with_cross_space(true);
        let share = settings.router.shadow_percent.unwrap_or(0) as f64 / 100.0;
        let shadow = ShadowConfig::default().with_share(share);
        config = config.with_rollout(rollout.with_state_file(file).with_shadow(shadow));
    }
    let router = Router::new(routes, LanguageDetector::new(), config)?;
    for absence in router.absences() {
        let (route, reason) = (&absence.route, &absence.reason);
        if absence.is_looked_for {
            tracing::warn!(route = %route, reason = %reason, "a service is unavailable; its texts wait until it answers");
            continue;
        }
        let fallback = absence.fallback.as_deref().unwrap_or("no service");
        // A closed standard error is no reason to fail.
        let _ = writeln!(io::stderr(), "embed: {fallback} takes the texts of {route} for this run: {reason}");
    }
    Ok(router)
}

/// Begins the route of a name, with the languages that its model reads, and the cache if there is one.
pub(crate) fn route(name: &str, cache: Option<&Cache>) -> RouteBuilder {
    let route = Route::builder(name);
    let route = if name == ENGLISH_ROUTE || name == LOCAL_ENGLISH_ROUTE {
        route.reads(Reads::only(["en"]))
    } else {
        route
    };
    match cache.cloned() {
        Some(cache) => route.cache(cache),
        None => route,
    }
}

/// Whether an error says that a service is unavailable, and not that its set-up is wrong.
pub(crate) fn is_absence(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout)
}

/// The description of a model that isn't loaded.
#[derive(Debug)]
struct UnloadedModel(ModelInfo);

impl UnloadedModel {
    fn new(profile: &Profile) -> Self {
        let variant = Variant::new(profile.space(), [("loaded", "no")]);
        Self(ModelInfo::builder(profile.family, profile.name, variant).build())
    }
}

#[async_trait]
impl Embedder for UnloadedModel {
    fn model(&self) -> &ModelInfo {
        &self.0
    }

    async fn embed(&self, _: EmbedRequest) -> Result<EmbedResponse, Error> {
        Err(Error::new(ErrorKind::Internal, "this model was described and not loaded"))
    }

    async fn health(&self) -> Health {
        Health::ready()
    }
}
