//! The tier in this process: bounded by bytes, and entries grow old.

use std::mem::size_of;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use embed_core::{Error, ErrorKind, Result, async_trait};
use foldhash::fast::RandomState;
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{Lifecycle, OptionsBuilder, Weighter};
use tokio::time::Instant;

use crate::{Key, Namespace, Tier, TierStats, Value};

/// Settings of a [`MemoryTier`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryConfig {
    /// Bytes that the entries may take, everything around them included. The default, 64 MiB, holds about 38,000
    /// vectors of 384 numbers.
    pub max_bytes: u64,
    /// How old an entry may get; `None` for no bound. A key says exactly which numbers it stands for, so an old
    /// entry isn't a wrong one: the bound only lets go of what nobody asks for.
    pub ttl: Option<Duration>,
}

/// A [`Tier`] in the memory of this process.
///
/// When it is full, entries that are asked for seldom make room (a modified Clock-PRO, by the crate `quick_cache`).
/// An entry that is too old is removed when it is next asked for; until then it counts. An entry that is too large
/// for it isn't stored. Its methods never wait and never fail, and do all of their work when they are first polled.
#[derive(Debug)]
pub struct MemoryTier {
    cache: Cache<Key, Stored, Cost, RandomState, Evictions>,
    config: MemoryConfig,
    /// The cost above which `quick_cache` doesn't take an entry.
    largest: u64,
    evicted: Arc<AtomicU64>,
    expired: AtomicU64,
}

/// A value and when it is too old.
#[derive(Debug, Clone)]
struct Stored {
    value: Value,
    expires: Option<Instant>,
}

/// What an entry takes in memory.
#[derive(Debug, Clone, Copy)]
struct Cost;

/// Counts evictions, and has what is evicted dropped after the lock is released.
#[derive(Debug, Clone)]
struct Evictions {
    count: Arc<AtomicU64>,
    deferred: DefaultLifecycle<Key, Stored>,
}

/// A slot of `quick_cache`: key (its namespace is shared), [`Stored`], and the 16 bytes of state and links that its
/// documentation states. A test compares it with what the cache reports.
const SLOT: u64 = size_of::<(Key, Stored)>() as u64 + 16;

/// An entry's share of the hash table: an index of 4 bytes and a control byte for each bucket, of which there are a
/// power of two and at most 7/8 are in use, so up to 16/7 of them for each entry.
const BUCKETS: u64 = (4 + 1) * 16 / 7 + 1;

/// What an [`Arc`] has before its contents: two counters.
const ARC: u64 = 2 * size_of::<usize>() as u64;

/// The usual entry, from which follows how many to expect: 384 numbers of four bytes after a header of 24.
const TYPICAL: u64 = cost(24 + 384 * 4);

/// The part of the limit for entries that are often asked for. `quick_cache`'s own choice, written down because it
/// decides how large an entry may be.
const HOT: f64 = 0.97;

/// Keys that were evicted lately are known by their hash, half as many as there are entries: `quick_cache`'s own
/// choice, too. Each takes a slot.
const GHOSTS: f64 = 0.5;

/// What a value of so many bytes takes.
const fn cost(bytes: u64) -> u64 {
    // As in glibc: a word before each allocation, all rounded up to 16 bytes.
    let allocated = (ARC + bytes + size_of::<usize>() as u64).next_multiple_of(16);
    allocated + SLOT + BUCKETS
}

impl Default for MemoryConfig {
    fn default() -> Self {
        Self { max_bytes: 64 << 20, ttl: Some(Duration::from_secs(60 * 60)) }
    }
}

impl MemoryConfig {
    /// Sets [`max_bytes`](Self::max_bytes).
    #[must_use]
    pub fn with_max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Sets [`ttl`](Self::ttl).
    #[must_use]
    pub fn with_ttl(mut self, ttl: impl Into<Option<Duration>>) -> Self {
        self.ttl = ttl.into();
        self
    }

    fn check(&self) -> Result<()> {
        let zero = [("max_bytes", self.max_bytes == 0), ("ttl", self.ttl.is_some_and(|ttl| ttl.is_zero()))];
        match zero.iter().find(|(_, is_zero)| *is_zero) {
            Some((field, _)) => {
                Err(Error::new(ErrorKind::Config, "a setting of the memory tier must be above zero")
                    .with_context("field", field))
            }
            None => Ok(()),
        }
    }
}

impl MemoryTier {
    /// An empty tier. It takes memory as it fills.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if a setting is zero; the error names it.
    pub fn new(config: MemoryConfig) -> Result<Self> {
        config.check()?;
        let expected = config.max_bytes / TYPICAL;
        // Evicted keys take memory, too, and aren't entries: what they may take is set aside.
        let ghosts = (expected as f64 * GHOSTS) as u64 * (SLOT + BUCKETS);
        let options = OptionsBuilder::new()
            .estimated_items_capacity(usize::try_from(expected).unwrap_or(usize::MAX))
            .weight_capacity(config.max_bytes - ghosts)
            .hot_allocation(HOT)
            .ghost_allocation(GHOSTS)
            .build()
            .map_err(|error| {
                Error::new(ErrorKind::Internal, "the memory tier can't be made")
                    .with_context("because", error)
            })?;
        let evicted = Arc::default();
        let evictions = Evictions { count: Arc::clone(&evicted), deferred: DefaultLifecycle::default() };
        let cache = Cache::with_options(options, Cost, RandomState::default(), evictions);
        let largest = (cache.shard_capacity() as f64 * HOT) as u64;
        Ok(Self { cache, config, largest, evicted, expired: AtomicU64::new(0) })
    }

    fn look_up(&self, keys: &[Key]) -> Vec<Option<Value>> {
        // The clock is read once for all keys: it costs as much as a lookup.
        let now = self.config.ttl.map(|_| Instant::now());
        keys.iter().map(|key| self.get(key, now)).collect()
    }

    fn get(&self, key: &Key, now: Option<Instant>) -> Option<Value> {
        let stored = self.cache.get(key)?;
        if !stored.is_expired(now) {
            return Some(stored.value);
        }
        // Another one may have been stored since.
        if self.cache.remove_if(key, |stored| stored.is_expired(now)).is_some() {
            self.expired.fetch_add(1, Ordering::Relaxed);
        }
        None
    }
}

impl Stored {
    /// `now` is `None` if there is no TTL.
    fn is_expired(&self, now: Option<Instant>) -> bool {
        self.expires.zip(now).is_some_and(|(expires, now)| expires <= now)
    }
}

#[async_trait]
impl Tier for MemoryTier {
    fn name(&self) -> &str {
        "memory"
    }

    fn is_local(&self) -> bool {
        true
    }

    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Value>>> {
        Ok(self.look_up(keys))
    }

    fn get_now(&self, keys: &[Key]) -> Option<Vec<Option<Value>>> {
        Some(self.look_up(keys))
    }

    async fn put_many(&self, entries: &[(Key, Value)]) -> Result<()> {
        // A time that is too far away to be told never comes.
        let expires = self.config.ttl.and_then(|ttl| Instant::now().checked_add(ttl));
        for (key, value) in entries {
            let stored = Stored { value: value.clone(), expires };
            if Cost.weight(key, &stored) > self.largest {
                self.cache.remove(key);
            } else {
                self.cache.insert(key.clone(), stored);
            }
        }
        Ok(())
    }

    async fn remove(&self, keys: &[Key]) -> Result<()> {
        for key in keys {
            self.cache.remove(key);
        }
        Ok(())
    }

    async fn clear(&self, namespace: Option<&Namespace>) -> Result<()> {
        match namespace {
            Some(namespace) => self.cache.retain(|key, _| key.namespace() != namespace),
            None => self.cache.clear(),
        }
        Ok(())
    }

    async fn stats(&self) -> Result<TierStats> {
        Ok(TierStats {
            entries: Some(self.cache.len() as u64),
            bytes: Some(self.cache.weight()),
            limit: Some(self.config.max_bytes),
            evicted: self.evicted.load(Ordering::Relaxed),
            expired: self.expired.load(Ordering::Relaxed),
        })
    }
}

impl Weighter<Key, Stored> for Cost {
    fn weight(&self, _: &Key, stored: &Stored) -> u64 {
        cost(stored.value.as_bytes().len() as u64)
    }
}

impl Lifecycle<Key, Stored> for Evictions {
    type RequestState = <DefaultLifecycle<Key, Stored> as Lifecycle<Key, Stored>>::RequestState;

    // Called for what makes room, and not for what is replaced.
    fn before_evict(&self, _: &mut Self::RequestState, _: &Key, _: &mut Stored) {
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    fn on_evict(&self, state: &mut Self::RequestState, key: Key, stored: Stored) {
        self.deferred.on_evict(state, key, stored);
    }
}

#[cfg(test)]
mod tests {
    use embed_core::{Role, Truncation};

    use super::*;

    /// The constants above, against the structures themselves.
    #[tokio::test]
    async fn an_entry_costs_what_it_takes() {
        let tier = MemoryTier::new(MemoryConfig::default()).unwrap();
        let namespace = Namespace::named("v");
        // Just after a hash table has grown, it has the most buckets for each entry.
        for count in [1, 15, 449, 3585, 20_000] {
            let entries: Vec<_> = (0..count)
                .map(|i| {
                    let key = Key::new(&namespace, Role::Query, Truncation::Error, &i.to_string());
                    (key, Value::from_bytes(Vec::new()))
                })
                .collect();
            tier.put_many(&entries).await.unwrap();
            let memory = tier.cache.memory_used();
            assert_eq!(memory.entries as u64, SLOT * count);
            assert!(memory.map as u64 <= BUCKETS * count + 32 * tier.cache.num_shards() as u64, "{memory:?}");
        }
    }
}
