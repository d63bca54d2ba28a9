//! The stack as one embedder.

use embed_cache::{Cache, Cached};
use embed_core::{Embedder, Error};
use embed_encoder::assets::DataHome;

use super::backend::Loader;
use super::notice::Notice;
use super::router::router;
use crate::settings::{self, Document, ModelSpec, Settings};

/// What embeds, behind the cache if there is one.
///
/// # Errors
///
/// As [`router`].
pub async fn load(
    settings: &Settings,
    home: DataHome,
    cache: Option<&Cache>,
    notice: Notice,
) -> Result<Box<dyn Embedder>, Error> {
    let document = settings::document(settings, &home)?;
    let Some(model) = without_router(&document, settings) else {
        return Ok(Box::new(router(settings, home, cache, notice).await?));
    };
    let embedder = Loader::new(settings, &home).load(model).await?;
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
