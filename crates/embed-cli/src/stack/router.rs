//! The router over the routes of a service.

use std::fmt::{self, Display};
use std::io::{self, Write};
use std::sync::Arc;

use embed_cache::{Cache, Cached};
use embed_core::{
    EmbedRequest, EmbedResponse, Embedder, Error, ErrorKind, Health, ModelInfo, Variant, async_trait,
};
use embed_e5::Profile;
use embed_e5::assets::DataHome;
use embed_router::{
    ENGLISH_ROUTE, Guard, Guarded, LanguageDetector, MULTILINGUAL_ROUTE, Policy, Reads, RolloutConfig,
    RolloutFile, Route, Router, RouterConfig, ShadowConfig,
};

use super::backend;
use crate::settings::{Service, Settings};

/// A router over the routes of the service, which may be one, each behind the cache if there is one.
pub(crate) async fn router(
    settings: &Settings,
    home: DataHome,
    cache: Option<&Cache>,
) -> Result<Router, Error> {
    let e5 = async { Ok(route(MULTILINGUAL_ROUTE, backend::e5(settings, home).await?, cache)) };
    let ollama = async { Ok(route(ENGLISH_ROUTE, backend::ollama(settings).await?, cache)) };
    join(settings, e5, ollama).await
}

/// A router that decides where texts go and can't embed them: E5 isn't loaded for it.
pub(crate) async fn decider(settings: &Settings) -> Result<Router, Error> {
    let e5 = async { Ok(Route::new(MULTILINGUAL_ROUTE, Described::e5(settings.e5.profile))) };
    let ollama = async { Ok(Route::new(ENGLISH_ROUTE, backend::ollama(settings).await?)) };
    join(settings, e5, ollama).await
}

/// A router over those of the two routes that the service needs. In the hybrid service, E5 is the fallback of an Ollama
/// that is unavailable at the start. That suits a command that ends soon, and is reported on standard error; a server
/// passes a route that waits for Ollama.
pub(crate) async fn join(
    settings: &Settings,
    e5: impl Future<Output = Result<Route, Error>>,
    ollama: impl Future<Output = Result<Route, Error>>,
) -> Result<Router, Error> {
    let (routes, policy) = match settings.service {
        Service::E5 => (vec![e5.await?], Policy::everything_to(MULTILINGUAL_ROUTE)),
        Service::Ollama => (vec![reads_english(ollama.await?)], Policy::everything_to(ENGLISH_ROUTE)),
        Service::Hybrid => {
            let english = ollama.await.or_else(|reason| {
                // An Ollama that answers and is set up wrongly is an error for the operator.
                if !is_absence(&reason) {
                    return Err(reason);
                }
                Ok(Route::absent(ENGLISH_ROUTE, reason).with_fallback(MULTILINGUAL_ROUTE))
            })?;
            (vec![reads_english(english), e5.await?], Policy::default())
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
        // Who began the rollout was told what another space means.
        let rollout = RolloutConfig::new(state.from, state.to).with_salt(state.salt).with_cross_space(true);
        let share = settings.router.shadow_percent.unwrap_or(0) as f64 / 100.0;
        let shadow = ShadowConfig::default().with_share(share);
        config = config.with_rollout(rollout.with_state_file(file).with_shadow(shadow));
    }
    let router = Router::new(routes, Arc::new(LanguageDetector::new()), config)?;
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

/// A route to this back end, behind a breaker and the cache if there is one.
pub(crate) fn route(name: &str, embedder: impl Embedder + Display, cache: Option<&Cache>) -> Route {
    // Behind the cache, which has answers while the back end is down.
    let guard = Guard::default();
    let guarded = Guarded::new(embedder, guard.clone());
    let route = match cache {
        Some(cache) => Route::new(name, Cached::new(guarded, cache.clone())),
        None => Route::new(name, guarded),
    };
    route.with_guard(guard)
}

/// A service that isn't available yet, and how to connect to it.
pub(crate) struct Connecting<C> {
    pub(crate) name: &'static str,
    pub(crate) model: ModelInfo,
    /// Why it isn't available.
    pub(crate) reason: Error,
    pub(crate) connect: C,
}

/// A route that is used as soon as its service is available.
pub(crate) fn connecting_route<C, F, E>(connecting: Connecting<C>, cache: Option<&Cache>) -> Route
where
    C: Fn() -> F + Send + Sync + 'static,
    F: Future<Output = Result<E, Error>> + Send + 'static,
    E: Embedder + Display,
{
    let Connecting { name, model, reason, connect } = connecting;
    let guard = Guard::default();
    let behind = guard.clone();
    let connect = move || {
        let (connected, guard) = (connect(), behind.clone());
        async move { connected.await.map(|embedder| Guarded::new(embedder, guard)) }
    };
    let route = match cache.cloned() {
        None => Route::connecting(name, model, reason, connect),
        Some(cache) => Route::connecting(name, model, reason, move || {
            let (connected, cache) = (connect(), cache.clone());
            async move { connected.await.map(|embedder| Cached::new(embedder, cache)) }
        }),
    };
    route.with_guard(guard)
}

/// Whether an error says that a service is unavailable, and not that its set-up is wrong.
pub(crate) fn is_absence(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout)
}

fn reads_english(route: Route) -> Route {
    route.with_reads(Reads::only(["en"]))
}

/// A model that is described and not loaded.
#[derive(Debug)]
struct Described(ModelInfo);

impl Described {
    fn e5(profile: &Profile) -> Self {
        let variant = Variant::new(profile.space(), [("loaded", "no")]);
        Self(ModelInfo::builder("e5", profile.name, variant).build())
    }
}

#[async_trait]
impl Embedder for Described {
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

impl Display for Described {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())
    }
}
