//! The flags and variables of the cache, and the cache that they describe.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use embed_cache::{Cache, CacheConfig, MemoryConfig, MemoryTier, RedisConfig, RedisTier, RedisUrl, Tier};
use embed_core::{Error, ErrorKind};

use crate::variables::{seconds, switch, variable};

/// How long a start waits for Redis. A cache that isn't there by then is used when it comes.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long the end of a command waits for what isn't stored yet.
const LAST_WRITES: Duration = Duration::from_secs(10);

/// Whether vectors are kept, and where.
#[derive(Debug, Args)]
pub(crate) struct CacheArgs {
    /// Where vectors are kept, so that a text is embedded once. Without it TMWS_CACHE; then both if a Redis is
    /// named, else memory.
    #[arg(long, value_enum, value_name = "WHERE")]
    cache: Option<Place>,

    #[command(flatten)]
    redis: RedisArgs,
}

/// Which Redis, wherever one is meant. The default is that of the environment.
#[derive(Debug, Default, Args)]
pub(crate) struct RedisArgs {
    /// Redis: redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE], rediss:// for TLS, redis-cluster://…,
    /// redis-sentinel://…?sentinelServiceName=NAME. Without it TMWS_REDIS_URL, where a password is not seen by
    /// who lists processes.
    #[arg(long, value_name = "URL", global = true)]
    redis_url: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Place {
    /// In this process, as long as it lives.
    Memory,
    /// In Redis, for all processes.
    Redis,
    /// In memory first, then in Redis.
    Both,
    /// Nowhere.
    Off,
}

impl CacheArgs {
    /// The cache; `None` if it is off. A Redis that doesn't answer is said on standard error and is no failure.
    pub(crate) async fn open(&self) -> Result<Option<Cache>, Error> {
        let url = self.redis.url()?;
        let place = match self.cache {
            Some(place) => place,
            None => configured()?.unwrap_or(if url.is_some() { Place::Both } else { Place::Memory }),
        };
        let mut tiers: Vec<Arc<dyn Tier>> = Vec::new();
        if let Place::Memory | Place::Both = place {
            let mut config = MemoryConfig::default();
            if let Some(ttl) = seconds("TMWS_CACHE_TTL")? {
                config = config.with_ttl(ttl);
            }
            tiers.push(Arc::new(MemoryTier::new(config)?));
        }
        if let Place::Redis | Place::Both = place {
            let tier = connect(url.ok_or_else(no_url)?)?;
            if let Err(error) = tier.ready(PATIENCE).await {
                // A closed standard error is no reason to fail.
                let _ = writeln!(io::stderr(), "embed: going on without Redis: {error}");
            }
            tiers.push(Arc::new(tier));
        }
        if tiers.is_empty() { Ok(None) } else { Cache::new(CacheConfig::default(), tiers).map(Some) }
    }
}

impl RedisArgs {
    /// The address, of the flag first and of the environment second.
    pub(crate) fn url(&self) -> Result<Option<RedisUrl>, Error> {
        let url = match &self.redis_url {
            Some(url) => Some(url.clone()),
            None => variable("TMWS_REDIS_URL")?,
        };
        url.map(|url| url.parse()).transpose()
    }

    /// The Redis that is named, which must be there.
    pub(crate) async fn tier(&self) -> Result<(RedisTier, RedisUrl), Error> {
        let url = self.url()?.ok_or_else(no_url)?;
        let tier = connect(url.clone())?;
        tier.ready(PATIENCE).await?;
        Ok((tier, url))
    }
}

fn no_url() -> Error {
    Error::new(ErrorKind::Config, "no Redis is named; give --redis-url or set TMWS_REDIS_URL")
}

fn connect(url: RedisUrl) -> Result<RedisTier, Error> {
    let mut config = RedisConfig::new(url);
    if let Some(ttl) = seconds("TMWS_CACHE_TTL")? {
        config = config.with_ttl(ttl);
    }
    RedisTier::connect(config)
}

/// What the environment says of the cache. The older switch turns it off, and says nothing of where it is.
fn configured() -> Result<Option<Place>, Error> {
    if let Some(place) = variable("TMWS_CACHE")? {
        return Place::from_str(place.trim(), true).map(Some).map_err(|_| {
            Error::new(
                ErrorKind::Config,
                "TMWS_CACHE is none of memory, redis, both, off; set it to one of them",
            )
        });
    }
    Ok(switch("TMWS_OLLAMA_CACHE_ENABLED")?.and_then(|on| (!on).then_some(Place::Off)))
}

/// Waits for the last writes; what couldn't be stored is said on standard error.
pub(crate) async fn finish(cache: Option<&Cache>) {
    if let Some(cache) = cache
        && let Err(error) = cache.flush(LAST_WRITES).await
    {
        let _ = writeln!(io::stderr(), "embed: {error}");
    }
}
