//! The stack of `embed-stack`, with its notices on standard error.

use std::io::{self, Write};

use embed_cache::Cache;
use embed_core::{Embedder, Error};
use embed_encoder::assets::DataHome;
use embed_router::{Route, Router};
use embed_stack::stack;

use crate::settings::{Document, Settings};

pub(crate) use embed_stack::stack::{
    Backend, Loader, Members, RemoteConfig, is_absence, max_text_bytes, route,
};

fn notice(what: &str) {
    // A closed standard error is no reason to fail.
    let _ = writeln!(io::stderr(), "embed: {what}");
}

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

pub(crate) mod cache {
    //! The cache that the settings describe.

    use super::{Cache, Error, Settings, notice, stack};

    #[cfg(feature = "redis")]
    pub(crate) use embed_stack::stack::cache::redis_tier;

    /// The cache; `None` if it is off.
    pub(crate) async fn open(settings: &Settings) -> Result<Option<Cache>, Error> {
        stack::cache::open(settings, notice).await
    }

    /// Waits for the last writes; what couldn't be stored is reported on standard error.
    pub(crate) async fn finish(cache: Option<&Cache>) {
        if let Err(error) = stack::cache::finish(cache).await {
            notice(&error.to_string());
        }
    }
}
