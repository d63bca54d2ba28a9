//! The stack of `embed-stack`, with its notices on standard error.

pub(crate) mod cache;
mod notice;

use embed_cache::Cache;
use embed_core::{Embedder, Error};
use embed_encoder::assets::DataHome;
use embed_router::{Route, Router};
use embed_stack::stack;

use crate::settings::{Document, Settings};
use notice::notice;

pub(crate) use embed_stack::stack::{
    Backend, Follower, Loader, Members, RemoteConfig, max_text_bytes, route, server_route, servers,
};

/// What embeds, behind the cache if there is one.
pub(crate) async fn load(
    settings: &Settings,
    home: DataHome,
    cache: Option<&Cache>,
) -> Result<Box<dyn Embedder>, Error> {
    stack::load(settings, home, cache, notice).await
}

/// A router over the models of the settings.
pub(crate) async fn router(
    settings: &Settings,
    home: DataHome,
    cache: Option<&Cache>,
) -> Result<Router, Error> {
    stack::router(settings, home, cache, notice).await
}

/// A router that decides where texts go and can't embed them.
pub(crate) async fn decider(settings: &Settings, home: &DataHome) -> Result<Router, Error> {
    stack::decider(settings, home, notice).await
}

/// A router over routes to the models of a document.
pub(crate) fn join(settings: &Settings, document: &Document, routes: Vec<Route>) -> Result<Router, Error> {
    stack::join(settings, document, routes, notice)
}
