//! The router over the models of a document.

use embed_cache::Cache;
use embed_core::{Embedder, Error, ErrorKind};
use embed_encoder::assets::DataHome;
use embed_router::{
    LanguageDetector, RolloutConfig, RolloutFile, Route, RouteBuilder, Router, RouterConfig, ShadowConfig,
};
use futures::future::try_join_all;

use super::backend::{Backend, Loader, servers};
use super::notice::Notice;
use super::same_space::Members;
use super::unloaded::UnloadedModel;
use crate::settings::{self, Document, ModelSpec, Settings};

/// A router over the models of the settings, each behind the cache if there is one, for a command that ends soon: a server
/// that is unavailable at the start is replaced by its fallback, which is a notice.
///
/// # Errors
///
/// What is wrong with a model, with a server that answers, or with the routes.
pub async fn router(
    settings: &Settings,
    home: DataHome,
    cache: Option<&Cache>,
    notice: Notice,
) -> Result<Router, Error> {
    let document = settings::document(settings, &home)?;
    let (members, loader) = (Members::default(), Loader::new(settings, &home));
    // Models in this process first, since those of servers are compared with them.
    let admitted = async |model, backend| {
        members.admit(&backend).await?;
        Ok::<_, Error>(route(model, cache).backend(backend).build())
    };
    let encoders = document.encoders().map(async |(model, spec)| {
        admitted(model, Backend::Encoder(loader.encoder(model, spec).await?)).await
    });
    let mut routes = try_join_all(encoders).await?;
    let servers = servers(&document, &home).map(async |(model, config)| {
        let connected = async { admitted(model, config.connect().await?).await };
        connected.await.or_else(|reason| absent(model, &document, reason))
    });
    routes.extend(try_join_all(servers).await?);
    join(settings, &document, routes, notice)
}

/// A router that decides where texts go and can't embed them: no model is loaded for it into this process.
///
/// # Errors
///
/// As [`router`].
pub async fn decider(settings: &Settings, home: &DataHome, notice: Notice) -> Result<Router, Error> {
    let document = settings::document(settings, home)?;
    let unloaded = document.encoders().map(|(model, spec)| {
        Ok::<_, Error>(route(model, None).backend(UnloadedModel::new(spec.profile(home)?)).build())
    });
    let mut routes = unloaded.collect::<Result<Vec<_>, _>>()?;
    let servers = servers(&document, home).map(async |(model, config)| match config.connect().await {
        Ok(backend) => Ok(route(model, None).backend(backend).build()),
        Err(reason) => absent(model, &document, reason),
    });
    routes.extend(try_join_all(servers).await?);
    join(settings, &document, routes, notice)
}

/// The route to a server that a command does without. A server that answers and is set up wrongly is an error for the
/// operator, and one whose model has no fallback is needed.
fn absent(model: &ModelSpec, document: &Document, reason: Error) -> Result<Route, Error> {
    if !is_absence(&reason) {
        return Err(reason);
    }
    let absent = route(model, None);
    Ok(match (&model.fallback, &model.fallback_of_a_command) {
        (Some(fallback), _) if document.model(fallback).is_some_and(|model| !model.is_remote()) => {
            absent.absent(reason).same_space_fallback(fallback.as_str()).build()
        }
        (_, Some(fallback)) => absent.absent(reason).fallback(fallback.as_str()).build(),
        _ => return Err(reason),
    })
}

/// A router over routes to the models of a document, in the document's order.
///
/// # Errors
///
/// [`ErrorKind::Config`] if the routes don't fit together, or if the rollout of the settings can't be read.
pub fn join(
    settings: &Settings,
    document: &Document,
    mut routes: Vec<Route>,
    notice: Notice,
) -> Result<Router, Error> {
    let place = |name: &str| document.models.iter().position(|model| model.name == name);
    routes.sort_by_key(|route| place(route.name()));
    let mut config = RouterConfig::default()
        .with_policy(document.policy())
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
        notice(&format!("{fallback} takes the texts of {route} for this run: {reason}"));
    }
    Ok(router)
}

/// Begins the route to a model, with the languages that it reads, and the cache if there is one.
pub fn route(model: &ModelSpec, cache: Option<&Cache>) -> RouteBuilder {
    let route = Route::builder(model.name.as_str()).reads(model.reads());
    match cache.cloned() {
        Some(cache) => route.cache(cache),
        None => route,
    }
}

/// Whether an error says that a service is unavailable, and not that its set-up is wrong.
fn is_absence(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout)
}

/// The route to a model of servers. If they don't answer now, the route keeps connecting, and its texts go to the model in
/// this process that stands in for it, or wait: clients have stored its vectors.
///
/// # Errors
///
/// What a server says that answers and is set up wrongly.
pub async fn server_route<C, F, E>(
    model: &ModelSpec,
    document: &Document,
    cache: Option<&Cache>,
    connect: C,
) -> Result<Route, Error>
where
    C: Fn() -> F + Send + Sync + 'static,
    F: Future<Output = Result<E, Error>> + Send + 'static,
    E: Embedder,
{
    let route = route(model, cache);
    let reason = match connect().await {
        Ok(backend) => return Ok(route.backend(backend).build()),
        Err(reason) if is_absence(&reason) => reason,
        Err(error) => return Err(error),
    };
    let route = route.connecting(model.described(), reason, connect);
    let fallback = model.fallback.as_deref().and_then(|name| document.model(name));
    Ok(match fallback {
        Some(fallback) if !fallback.is_remote() => route.same_space_fallback(fallback.name.as_str()),
        _ => route,
    }
    .build())
}
