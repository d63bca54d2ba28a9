//! The tier in this process's memory, bounded by bytes, with a TTL.

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
    /// Bytes that the entries may take, overhead included. The default, 64 MiB, holds about 38,000 vectors of 384
    /// numbers.
    pub max_bytes: u64,
    /// How old an entry may get; `None` for no limit. A key determines its vector exactly, so an old entry isn't wrong:
    /// the TTL only frees the memory of entries that are no longer used.
    pub ttl: Option<Duration>,
}

/// A [`Tier`] in the memory of this process.
///
/// When it is full, rarely used entries are evicted (a modified Clock-PRO, by the crate `quick_cache`). An expired entry
/// is removed at its next lookup; until then it takes memory. An entry that is too large isn't stored. The methods never
/// wait and never fail, and do all their work in the first poll.
#[derive(Debug)]
pub struct MemoryTier {
    cache: Cache<Key, MemoryEntry, Cost, RandomState, Evictions>,
    config: MemoryConfig,
    /// The cost above which `quick_cache` doesn't store an entry.
    largest: u64,
    evicted: Arc<AtomicU64>,
    expired: AtomicU64,
}

/// A value and when it expires.
#[derive(Debug, Clone)]
struct MemoryEntry {
    value: Value,
    expires: Option<Instant>,
}

/// Computes the memory that an entry takes.
#[derive(Debug, Clone, Copy)]
struct Cost;

/// Counts evictions, and drops evicted entries after the lock is released.
#[derive(Debug, Clone)]
struct Evictions {
    count: Arc<AtomicU64>,
    deferred: DefaultLifecycle<Key, MemoryEntry>,
}

/// The size of a slot of `quick_cache`: the key (its namespace is shared), [`MemoryEntry`], and 16 bytes of state and links
/// according to its documentation. A test compares it with what the cache reports.
const SLOT: u64 = size_of::<(Key, MemoryEntry)>() as u64 + 16;

/// An entry's share of the hash table: an index of 4 bytes and a control byte per bucket. The number of buckets is a power
/// of two and at most 7/8 of them are used, so there are up to 16/7 buckets per entry.
const BUCKETS: u64 = (4 + 1) * 16 / 7 + 1;

/// The size of the two counters that an [`Arc`] has before its contents.
const ARC: u64 = 2 * size_of::<usize>() as u64;

/// A typical entry, to estimate the number of entries: 384 numbers of four bytes after a header of 24.
const TYPICAL: u64 = cost(24 + 384 * 4);

/// The part of the limit for hot entries. It is `quick_cache`'s default, fixed here because it limits the size of an entry.
const HOT: f64 = 0.97;

/// The number of recently evicted keys whose hashes are remembered, relative to the number of entries. Each takes a slot.
/// Also `quick_cache`'s default.
const GHOSTS: f64 = 0.5;

/// The memory that a value of so many bytes takes.
const fn cost(bytes: u64) -> u64 {
    // As in glibc: one more word per allocation, rounded up to 16 bytes.
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
    /// An empty tier. It allocates memory as it fills.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if a setting is zero; the error names it.
    pub fn new(config: MemoryConfig) -> Result<Self> {
        config.check()?;
        let expected = config.max_bytes / TYPICAL;
        // Evicted keys aren't entries but take memory too, which is reserved here.
        let ghosts = (expected as f64 * GHOSTS) as u64 * (SLOT + BUCKETS);
        let options = OptionsBuilder::new()
            .estimated_items_capacity(usize::try_from(expected).unwrap_or(usize::MAX))
            .weight_capacity(config.max_bytes - ghosts)
            .hot_allocation(HOT)
            .ghost_allocation(GHOSTS)
            .build()
            .map_err(|error| {
                Error::new(ErrorKind::Internal, "the memory tier can't be created")
                    .with_context("because", error)
            })?;
        let evicted = Arc::default();
        let evictions = Evictions { count: Arc::clone(&evicted), deferred: DefaultLifecycle::default() };
        let cache = Cache::with_options(options, Cost, RandomState::default(), evictions);
        let largest = (cache.shard_capacity() as f64 * HOT) as u64;
        Ok(Self { cache, config, largest, evicted, expired: AtomicU64::new(0) })
    }

    fn look_up(&self, keys: &[Key]) -> Vec<Option<Value>> {
        // The clock is read once for all keys, because that costs as much as a lookup.
        let now = self.config.ttl.map(|_| Instant::now());
        keys.iter().map(|key| self.get(key, now)).collect()
    }

    fn get(&self, key: &Key, now: Option<Instant>) -> Option<Value> {
        let stored = self.cache.get(key)?;
        if !stored.is_expired(now) {
            return Some(stored.value);
        }
        // A fresh entry may have been stored since.
        if self.cache.remove_if(key, |stored| stored.is_expired(now)).is_some() {
            self.expired.fetch_add(1, Ordering::Relaxed);
        }
        None
    }
}

impl MemoryEntry {
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
        // A time beyond the clock's range never comes.
        let expires = self.config.ttl.and_then(|ttl| Instant::now().checked_add(ttl));
        for (key, value) in entries {
            let stored = MemoryEntry { value: value.clone(), expires };
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

impl Weighter<Key, MemoryEntry> for Cost {
    fn weight(&self, _: &Key, stored: &MemoryEntry) -> u64 {
        cost(stored.value.as_bytes().len() as u64)
    }
}

impl Lifecycle<Key, MemoryEntry> for Evictions {
    type RequestState = <DefaultLifecycle<Key, MemoryEntry> as Lifecycle<Key, MemoryEntry>>::RequestState;

    // Called for evicted entries, not for replaced ones.
    fn before_evict(&self, _: &mut Self::RequestState, _: &Key, _: &mut MemoryEntry) {
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    fn on_evict(&self, state: &mut Self::RequestState, key: Key, stored: MemoryEntry) {
        self.deferred.on_evict(state, key, stored);
    }
}

#[cfg(test)]
mod tests {
    use embed_core::{Role, Truncation};

    use super::*;

    /// Checks the constants above against `quick_cache`'s structures.
    #[tokio::test]
    async fn an_entry_costs_what_it_takes() {
        let tier = MemoryTier::new(MemoryConfig::default()).unwrap();
        let namespace = Namespace::named("v");
        // Just after a hash table has grown, it has the most buckets per entry.
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
