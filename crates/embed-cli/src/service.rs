//! From settings to what embeds.

use std::fmt::{self, Display};
use std::io::{self, Write};
use std::sync::Arc;

use clap::ValueEnum;
use embed_cache::{Cache, Cached};
use embed_core::{
    EmbedRequest, EmbedResponse, Embedder, Error, ErrorKind, Health, ModelInfo, Role, Truncation, Variant,
    async_trait,
};
use embed_e5::assets::DataHome;
use embed_e5::{E5Config, E5Embedder, Profile};
use embed_ollama::OllamaEmbedder;
use embed_router::{
    ENGLISH_ROUTE, Guard, Guarded, LanguageDetector, MULTILINGUAL_ROUTE, Policy, Reads, RolloutConfig,
    RolloutFile, Route, Router, RouterConfig, ShadowConfig,
};

use crate::settings::Settings;

/// Who embeds. The names of those with one model are those of the sections that hold their settings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Service {
    /// A model of the E5 family inside this process.
    #[default]
    E5,
    /// An Ollama server.
    Ollama,
    /// English by Ollama, all else by E5: rows are of two spaces.
    Hybrid,
}

impl Settings {
    /// What embeds.
    pub(crate) async fn load(&self, home: DataHome) -> Result<Box<dyn Embedder>, Error> {
        self.load_behind(home, None).await
    }

    /// What embeds, behind the cache if there is one.
    pub(crate) async fn load_behind(
        &self,
        home: DataHome,
        cache: Option<&Cache>,
    ) -> Result<Box<dyn Embedder>, Error> {
        Ok(match (self.service, cache) {
            (Service::Hybrid, _) => Box::new(self.router(home, cache).await?),
            _ if self.router.rollout.is_some() => Box::new(self.router(home, cache).await?),
            (Service::E5, None) => Box::new(self.load_e5(home).await?),
            (Service::E5, Some(cache)) => Box::new(Cached::new(self.load_e5(home).await?, cache.clone())),
            (Service::Ollama, None) => Box::new(self.connect_ollama().await?),
            (Service::Ollama, Some(cache)) => {
                Box::new(Cached::new(self.connect_ollama().await?, cache.clone()))
            }
        })
    }

    /// A router over the routes of the service, which may be one, each behind the cache if there is one.
    pub(crate) async fn router(&self, home: DataHome, cache: Option<&Cache>) -> Result<Router, Error> {
        let e5 = async { Ok(route(MULTILINGUAL_ROUTE, self.load_e5(home).await?, cache)) };
        let ollama = async { Ok(route(ENGLISH_ROUTE, self.connect_ollama().await?, cache)) };
        self.join(e5, ollama).await
    }

    /// A router that can say where texts go and not embed them: E5 isn't loaded for it.
    pub(crate) async fn signpost(&self) -> Result<Router, Error> {
        let e5 = async { Ok(Route::new(MULTILINGUAL_ROUTE, Described::e5(self.e5.profile))) };
        let ollama = async { Ok(Route::new(ENGLISH_ROUTE, self.connect_ollama().await?)) };
        self.join(e5, ollama).await
    }

    /// A router over what the service needs of two routes. Of the hybrid service, E5 takes the texts of an Ollama that
    /// fails to be there, which suits a command that ends soon and is said on standard error; a server hands a route
    /// over that waits for it.
    pub(crate) async fn join(
        &self,
        e5: impl Future<Output = Result<Route, Error>>,
        ollama: impl Future<Output = Result<Route, Error>>,
    ) -> Result<Router, Error> {
        let (routes, policy) = match self.service {
            Service::E5 => (vec![e5.await?], Policy::everything_to(MULTILINGUAL_ROUTE)),
            Service::Ollama => (vec![reads_english(ollama.await?)], Policy::everything_to(ENGLISH_ROUTE)),
            Service::Hybrid => {
                let english = ollama.await.or_else(|reason| {
                    // Otherwise it is there, and something else is wrong, which the operator wants to know.
                    if !is_absence(&reason) {
                        return Err(reason);
                    }
                    Ok(Route::absent(ENGLISH_ROUTE, reason).with_stand_in(MULTILINGUAL_ROUTE))
                })?;
                (vec![reads_english(english), e5.await?], Policy::default())
            }
        };
        let mut config =
            RouterConfig::default().with_policy(policy).with_cross_space(self.router.cross_space);
        if let Some(file) = &self.router.rollout {
            let state = RolloutFile::new(file).read()?.ok_or_else(|| {
                Error::new(ErrorKind::Config, "there is no such rollout; `embed rollout start` begins one")
                    .with_context("file", file.display())
            })?;
            // Who began the rollout was told what another space means.
            let rollout =
                RolloutConfig::new(state.from, state.to).with_salt(state.salt).with_cross_space(true);
            let share = self.router.shadow_percent.unwrap_or(0) as f64 / 100.0;
            let shadow = ShadowConfig::default().with_share(share);
            config = config.with_rollout(rollout.with_state_file(file).with_shadow(shadow));
        }
        let router = Router::new(routes, Arc::new(LanguageDetector::new()), config)?;
        for absence in router.absences() {
            let (route, reason) = (&absence.route, &absence.reason);
            if absence.is_looked_for {
                tracing::warn!(route = %route, reason = %reason, "a service isn't there and is looked for; its texts wait");
                continue;
            }
            let stand_in = absence.stand_in.as_deref().unwrap_or("nobody");
            // A closed standard error is no reason to fail.
            let _ =
                writeln!(io::stderr(), "embed: {stand_in} takes the texts of {route} for this run: {reason}");
        }
        Ok(router)
    }

    pub(crate) async fn connect_ollama(&self) -> Result<OllamaEmbedder, Error> {
        OllamaEmbedder::connect(self.ollama.clone()).await
    }

    pub(crate) async fn load_e5(&self, home: DataHome) -> Result<E5Embedder, Error> {
        E5Embedder::load(self.e5.clone().with_home(home)).await
    }
}

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

/// A service that isn't there yet, and how it is looked for.
pub(crate) struct Connecting<C> {
    pub(crate) name: &'static str,
    pub(crate) model: ModelInfo,
    /// Why it isn't there.
    pub(crate) reason: Error,
    pub(crate) connect: C,
}

/// The same for a service that is used as soon as it is found.
pub(crate) fn route_to_come<C, F, E>(connecting: Connecting<C>, cache: Option<&Cache>) -> Route
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

/// Whether an error says that a service isn't there, and not that something is wrong with it.
pub(crate) fn is_absence(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout)
}

fn reads_english(route: Route) -> Route {
    route.with_reads(Reads::only(["en"]))
}

/// A model of which no more than its description is there.
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

/// The longest text that an embedder with these settings takes, in bytes.
pub(crate) fn max_text_bytes() -> usize {
    E5Config::default().max_text_bytes
}

pub(crate) fn parse_role(name: &str) -> Result<Role, String> {
    name.parse().map_err(|error: Error| error.to_string())
}

pub(crate) fn parse_truncation(name: &str) -> Result<Truncation, String> {
    name.parse().map_err(|error: Error| error.to_string())
}
