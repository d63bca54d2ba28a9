//! The cache that the settings describe.

use std::sync::Arc;
use std::time::Duration;

use embed_cache::{Cache, MemoryTier, Tier};
#[cfg(feature = "redis")]
use embed_cache::{RedisTier, RedisUrl};
use embed_core::Error;

use super::notice::Notice;
use crate::settings::{CachePlace, Settings};

/// How long a start waits for Redis. One that connects later is used from then on.
#[cfg(feature = "redis")]
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How long the end of a command waits for pending writes.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(10);

/// The cache; `None` if it is off. A Redis that doesn't answer is no failure, but a notice; it is used from when it answers.
///
/// # Errors
///
/// [`ErrorKind::Config`](embed_core::ErrorKind::Config) if the settings make no cache.
pub async fn open(settings: &Settings, notice: Notice) -> Result<Option<Cache>, Error> {
    let cache = &settings.cache;
    let has_memory = matches!(cache.place, CachePlace::Auto | CachePlace::Memory | CachePlace::Both);
    let has_redis = match cache.place {
        CachePlace::Auto => cache.redis_url.is_some(),
        CachePlace::Redis | CachePlace::Both => true,
        CachePlace::Memory | CachePlace::Off => false,
    };
    let mut tiers: Vec<Arc<dyn Tier>> = Vec::new();
    if has_memory {
        tiers.push(Arc::new(MemoryTier::new(cache.memory)?));
    }
    if has_redis {
        tiers.push(connect(settings, notice).await?);
    }
    if tiers.is_empty() { Ok(None) } else { Cache::new(cache.config, tiers).map(Some) }
}

#[cfg(feature = "redis")]
async fn connect(settings: &Settings, notice: Notice) -> Result<Arc<dyn Tier>, Error> {
    let tier = RedisTier::connect(settings.redis()?)?;
    let checked = async {
        tier.ready(CONNECT_TIMEOUT).await?;
        tier.check().await
    };
    if let Err(error) = checked.await {
        notice(&format!("going on without Redis: {error}"));
    }
    Ok(Arc::new(tier))
}

#[cfg(not(feature = "redis"))]
#[expect(clippy::unused_async, reason = "it is where there is a Redis")]
async fn connect(settings: &Settings, _: Notice) -> Result<Arc<dyn Tier>, Error> {
    match settings.redis()? {}
}

/// The Redis that the settings name; it must answer, be of the kind that its URL says, and be readable.
///
/// # Errors
///
/// Why it can't be used.
#[cfg(feature = "redis")]
pub async fn redis_tier(settings: &Settings) -> Result<(RedisTier, RedisUrl), Error> {
    let config = settings.redis()?;
    let url = config.url.clone();
    let tier = RedisTier::connect(config)?;
    tier.ready(CONNECT_TIMEOUT).await?;
    tier.check_reads().await?;
    Ok((tier, url))
}

/// Waits for the last writes.
///
/// # Errors
///
/// What couldn't be stored.
pub async fn finish(cache: Option<&Cache>) -> Result<(), Error> {
    match cache {
        Some(cache) => cache.flush(FLUSH_TIMEOUT).await,
        None => Ok(()),
    }
}
