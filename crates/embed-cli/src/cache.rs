//! The cache that the settings describe.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use embed_cache::{Cache, MemoryTier, RedisTier, RedisUrl, Tier};
use embed_core::Error;

use crate::settings::Settings;

/// How long a start waits for Redis. A cache that isn't there by then is used when it comes.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long the end of a command waits for what isn't stored yet.
const LAST_WRITES: Duration = Duration::from_secs(10);

/// Where vectors are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Place {
    /// In both if a Redis is named, else in memory.
    #[default]
    Auto,
    /// In this process, as long as it lives.
    Memory,
    /// In Redis, for all processes.
    Redis,
    /// In memory first, then in Redis.
    Both,
    /// Nowhere.
    Off,
}

/// The cache; `None` if it is off. A Redis that doesn't answer is said on standard error and is no failure.
pub(crate) async fn open(settings: &Settings) -> Result<Option<Cache>, Error> {
    let cache = &settings.cache;
    let has_memory = matches!(cache.place, Place::Auto | Place::Memory | Place::Both);
    let has_redis = match cache.place {
        Place::Auto => cache.redis_url.is_some(),
        Place::Redis | Place::Both => true,
        Place::Memory | Place::Off => false,
    };
    let mut tiers: Vec<Arc<dyn Tier>> = Vec::new();
    if has_memory {
        tiers.push(Arc::new(MemoryTier::new(cache.memory)?));
    }
    if has_redis {
        let tier = RedisTier::connect(settings.redis()?)?;
        let checked = async {
            tier.ready(PATIENCE).await?;
            tier.check().await
        };
        if let Err(error) = checked.await {
            // A closed standard error is no reason to fail.
            let _ = writeln!(io::stderr(), "embed: going on without Redis: {error}");
        }
        tiers.push(Arc::new(tier));
    }
    if tiers.is_empty() { Ok(None) } else { Cache::new(cache.config, tiers).map(Some) }
}

/// The Redis that is named, which must be there, of the kind that its URL says, and readable.
pub(crate) async fn redis_tier(settings: &Settings) -> Result<(RedisTier, RedisUrl), Error> {
    let config = settings.redis()?;
    let url = config.url.clone();
    let tier = RedisTier::connect(config)?;
    tier.ready(PATIENCE).await?;
    tier.check_reads().await?;
    Ok((tier, url))
}

/// Waits for the last writes; what couldn't be stored is said on standard error.
pub(crate) async fn finish(cache: Option<&Cache>) {
    if let Some(cache) = cache
        && let Err(error) = cache.flush(LAST_WRITES).await
    {
        let _ = writeln!(io::stderr(), "embed: {error}");
    }
}
