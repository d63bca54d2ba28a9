//! What embeds, built from the document of the settings: back ends, the router over them, the cache in front of each.

mod backend;
pub(crate) mod cache;
mod router;
mod same_space;
mod unloaded;

use embed_cache::{Cache, Cached};
use embed_core::{Embedder, Error};
use embed_encoder::assets::DataHome;

use crate::settings::{self, Document, ModelSpec, Settings};

pub(crate) use backend::{Backend, Loader, RemoteConfig, max_text_bytes};
pub(crate) use router::{decider, is_absence, join, route, router};
pub(crate) use same_space::Members;

/// What embeds, behind the cache if there is one.
pub(crate) async fn load(
    settings: &Settings,
    home: DataHome,
    cache: Option<&Cache>,
) -> Result<Box<dyn Embedder>, Error> {
    let document = settings::document(settings, &home)?;
    let Some(model) = without_router(&document, settings) else {
        return Ok(Box::new(router(settings, home, cache).await?));
    };
    let embedder = Loader::new(settings, &home)?.load(model).await?;
    Ok(match cache {
        Some(cache) => Box::new(Cached::new(embedder, cache.clone())),
        None => Box::new(embedder),
    })
}

/// A single model needs no router, unless a setting names routes, which the router checks.
fn without_router<'d>(document: &'d Document, settings: &Settings) -> Option<&'d ModelSpec> {
    let router = &settings.router;
    document.only_model().filter(|_| router.rollout.is_none() && router.pins.is_empty())
}
