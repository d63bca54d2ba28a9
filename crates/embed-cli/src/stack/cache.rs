//! The cache that the settings describe.

use embed_cache::Cache;
use embed_core::Error;
use embed_stack::stack::cache;

use super::notice::notice;
use crate::settings::Settings;

#[cfg(feature = "redis")]
pub(crate) use embed_stack::stack::cache::redis_tier;

/// The cache; `None` if it is off.
pub(crate) async fn open(settings: &Settings) -> Result<Option<Cache>, Error> {
    cache::open(settings, notice).await
}

/// Waits for the last writes; what couldn't be stored is reported on standard error.
pub(crate) async fn finish(cache: Option<&Cache>) {
    if let Err(error) = cache::finish(cache).await {
        notice(&error.to_string());
    }
}
