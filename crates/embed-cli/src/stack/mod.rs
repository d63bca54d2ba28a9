//! What embeds, built from the settings: back ends, the router over them, the cache in front of each.

mod backend;
pub(crate) mod cache;
pub(crate) mod english;
mod router;

use embed_cache::{Cache, Cached};
use embed_core::{Embedder, Error};
use embed_encoder::assets::DataHome;

use crate::settings::{ServiceChoice, Settings};

pub(crate) use backend::{e5, max_text_bytes};
pub(crate) use english::English;
pub(crate) use router::{Joined, decider, is_absence, join, route, router};

/// What embeds, behind the cache if there is one.
pub(crate) async fn load(
    settings: &Settings,
    home: DataHome,
    cache: Option<&Cache>,
) -> Result<Box<dyn Embedder>, Error> {
    Ok(match settings.service {
        _ if needs_router(settings) => Box::new(router(settings, home, cache).await?),
        ServiceChoice::E5 => cached(e5(settings, home).await?, cache),
        _ => cached(backend::ollama(settings).await?, cache),
    })
}

/// A single service needs no router, unless a setting names routes, which the router checks.
fn needs_router(settings: &Settings) -> bool {
    let router = &settings.router;
    settings.service == ServiceChoice::Hybrid || router.rollout.is_some() || !router.pins.is_empty()
}

fn cached(embedder: impl Embedder + 'static, cache: Option<&Cache>) -> Box<dyn Embedder> {
    match cache {
        Some(cache) => Box::new(Cached::new(embedder, cache.clone())),
        None => Box::new(embedder),
    }
}
