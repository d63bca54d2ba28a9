//! The tiers of a process, shared by all embedders behind a cache.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use embed_core::{Error, ErrorKind, ResponseBuilder, Result, RowInfo};
use tokio::time;

use crate::flight::{Claim, Flights};
use crate::guard::Guarded;
use crate::stats::{Count, Miss};
use crate::writer::Writer;
use crate::{CacheConfig, CacheStats, Defect, Element, Key, Namespace, Tier, Value};

/// Tiers in the order in which they are asked, fastest first, for any number of embedders: each
/// [`Cached`](crate::Cached) keeps to the namespace of its own variant. Cheap to clone; all clones are one cache.
///
/// A tier that fails, is slow, full or read-only, or holds bytes of another version costs its callers its read
/// budget at most, and after a few failures in a row nothing, until a trial finds it well again. It is never an
/// error of a request.
#[derive(Clone)]
pub struct Cache {
    inner: Arc<Inner>,
}

struct Inner {
    config: CacheConfig,
    tiers: Vec<Arc<Guarded>>,
    /// One for each tier that isn't local.
    writers: Vec<(usize, Writer)>,
    /// Of the embedders that use this cache.
    flights: Mutex<Vec<Weak<Flights>>>,
    counts: Counts,
}

#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) computed: Count,
    pub(crate) joined: Count,
    pub(crate) unfit: Count,
}

/// What a read of the tiers is for.
pub(crate) struct Read<'a> {
    keys: &'a [Key],
    info: &'a RowInfo,
    rows: &'a mut ResponseBuilder,
    /// The rows that no tier has given yet; `None` before a tier was asked, when it is all of them, so that a
    /// request whose rows are all in the first tier needs no list.
    missing: Option<Vec<usize>>,
}

/// A row to store, and the tiers that lack it: all before `tier`.
pub(crate) struct Stored {
    pub(crate) row: usize,
    pub(crate) tier: usize,
    pub(crate) value: Value,
}

impl<'a> Read<'a> {
    pub(crate) fn new(keys: &'a [Key], info: &'a RowInfo, rows: &'a mut ResponseBuilder) -> Self {
        Self { keys, info, rows, missing: None }
    }

    fn is_complete(&self) -> bool {
        self.missing.as_ref().map_or(self.keys.is_empty(), Vec::is_empty)
    }

    /// The rows that are still missing.
    pub(crate) fn into_missing(self) -> Vec<usize> {
        self.missing.unwrap_or_else(|| (0..self.keys.len()).collect())
    }

    /// Sets a row to what a tier has, if that is a vector under its key.
    fn take(&mut self, row: usize, value: Value, tier: &Guarded) -> Result<Value, Miss> {
        let opened = value.open(&self.keys[row], self.info.model.dimension()).map_err(Miss::Defect)?;
        let mut info = self.info.clone();
        info.tokens = opened.facts.tokens;
        info.truncated = opened.facts.truncated;
        info.tier = Some(Arc::clone(&tier.label));
        let put = self.rows.put_with(row, info, |vector| opened.copy_to(vector));
        put.map_err(|_| Miss::Defect(Defect::Vector))?;
        Ok(value)
    }
}

impl Cache {
    /// A cache of some tiers, fastest first. Without tiers it still brings equal texts together.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if a setting is out of range or two tiers have one name.
    pub fn new(config: CacheConfig, tiers: Vec<Arc<dyn Tier>>) -> Result<Self> {
        config.check()?;
        for (index, tier) in tiers.iter().enumerate() {
            if tiers.iter().take(index).any(|other| other.name() == tier.name()) {
                return Err(Error::new(ErrorKind::Config, "two tiers of a cache must not have one name")
                    .with_context("tier", tier.name()));
            }
        }
        let tiers: Vec<_> = tiers.into_iter().map(|tier| Arc::new(Guarded::new(tier, &config))).collect();
        let remote = tiers.iter().enumerate().filter(|(_, tier)| !tier.is_local());
        let writers =
            remote.map(|(index, tier)| (index, Writer::new(Arc::clone(tier), config.queue_bytes))).collect();
        let inner = Inner { config, tiers, writers, flights: Mutex::default(), counts: Counts::default() };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Removes all rows of a namespace from every tier, or with `None` all rows of this software.
    ///
    /// Rows that are being computed meanwhile reach their callers and aren't stored.
    ///
    /// # Errors
    ///
    /// The first tier's error; the others are emptied all the same.
    pub async fn clear(&self, namespace: Option<&Namespace>) -> Result<()> {
        self.each_flights(|flights| flights.forget_all(namespace));
        self.flush(self.inner.config.write_budget).await.ok();
        let mut result = Ok(());
        for tier in &self.inner.tiers {
            result = result.and(tier.removal(tier.tier.clear(namespace)).await);
        }
        result
    }

    /// Removes some rows from every tier. Rows that are being computed meanwhile aren't stored.
    ///
    /// # Errors
    ///
    /// The first tier's error; the others are done all the same.
    pub async fn remove(&self, keys: &[Key]) -> Result<()> {
        self.each_flights(|flights| flights.forget(keys));
        self.flush(self.inner.config.write_budget).await.ok();
        let mut result = Ok(());
        for tier in &self.inner.tiers {
            result = result.and(tier.removal(tier.tier.remove(keys)).await);
        }
        result
    }

    /// Waits until the rows that were computed so far are stored, or given up. Call it before a program ends.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Timeout`] if that took longer than `limit`; the rest is still being stored.
    pub async fn flush(&self, limit: Duration) -> Result<()> {
        let writers = futures::future::join_all(self.inner.writers.iter().map(|(_, writer)| writer.flush()));
        time::timeout(limit, writers).await.map(drop).map_err(|_| {
            let waiting: usize = self.inner.writers.iter().map(|(_, writer)| writer.waiting_bytes()).sum();
            Error::new(ErrorKind::Timeout, "not all vectors were stored in the cache in time")
                .with_context("waiting_bytes", waiting)
        })
    }

    /// What has been done so far, and what the tiers hold now.
    pub async fn stats(&self) -> CacheStats {
        let tiers = futures::future::join_all(self.inner.tiers.iter().map(|tier| tier.report())).await;
        let Counts { computed, joined, unfit } = &self.inner.counts;
        CacheStats { tiers, computed: computed.read(), joined: joined.read(), unfit: unfit.read() }
    }

    /// The tiers that are left alone for now, because they failed.
    pub(crate) fn failing_tier(&self) -> Option<&'static str> {
        self.inner.tiers.iter().find(|tier| tier.is_open()).map(|tier| tier.tier.name())
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.inner.counts
    }

    pub(crate) fn element(&self) -> Element {
        self.inner.config.element
    }

    /// Flights that are forgotten with the rows of this cache.
    pub(crate) fn register(&self, flights: &Arc<Flights>) {
        let mut all = self.inner.flights.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|flights| flights.strong_count() > 0);
        all.push(Arc::downgrade(flights));
    }

    fn each_flights(&self, act: impl Fn(&Flights)) {
        // Not held while `act` runs, which takes a lock of its own.
        let all = self.inner.flights.lock().unwrap_or_else(PoisonError::into_inner).clone();
        all.iter().filter_map(Weak::upgrade).for_each(|flights| act(&flights));
    }

    /// Reads the local tiers, on a caller's own path.
    pub(crate) async fn read_local(&self, read: &mut Read<'_>) {
        for tier in self.inner.tiers.iter().filter(|tier| tier.is_local()) {
            if read.is_complete() {
                return;
            }
            self.read_tier(tier, read, true, |_, _| ()).await;
        }
    }

    /// Reads all tiers, in a flight; returns the rows that lack in the faster ones. Since the caller looked, another
    /// flight may have filled a local tier, so these are read again, and their misses are not counted twice.
    pub(crate) async fn read_all(&self, read: &mut Read<'_>) -> Vec<Stored> {
        let mut found = Vec::new();
        for (index, tier) in self.inner.tiers.iter().enumerate() {
            if read.is_complete() {
                break;
            }
            let count_misses = !tier.is_local();
            self.read_tier(tier, read, count_misses, |row, value| {
                if index > 0 {
                    found.push(Stored { row, tier: index, value });
                }
            })
            .await;
        }
        found
    }

    async fn read_tier(
        &self,
        tier: &Guarded,
        read: &mut Read<'_>,
        count_misses: bool,
        mut found: impl FnMut(usize, Value),
    ) {
        let some: Option<Vec<Key>> =
            read.missing.as_ref().map(|rows| rows.iter().map(|&row| read.keys[row].clone()).collect());
        let Some(values) = tier.get_many(some.as_deref().unwrap_or(read.keys)).await else {
            return;
        };
        let asked = read.missing.take();
        let mut missing = Vec::new();
        let mut hits = 0;
        for (index, value) in values.into_iter().enumerate() {
            let row = asked.as_ref().map_or(index, |rows| rows[index]);
            match value.ok_or(Miss::Absent).and_then(|value| read.take(row, value, tier)) {
                Ok(value) => {
                    hits += 1;
                    found(row, value);
                }
                Err(miss) => {
                    missing.push(row);
                    if count_misses {
                        tier.misses.add(miss.as_str(), 1);
                    }
                }
            }
        }
        read.missing = Some(missing);
        tier.hits.add(hits);
    }

    /// Writes rows to the local tiers.
    pub(crate) async fn store_local(&self, keys: &[Key], rows: &[Stored]) {
        for (index, tier) in self.inner.tiers.iter().enumerate().filter(|(_, tier)| tier.is_local()) {
            let entries = lacking(index, keys, rows, |_| true);
            if !entries.is_empty() {
                tier.put_many(&entries).await;
            }
        }
    }

    /// Hands rows that are still wanted to the tasks that write to the other tiers.
    pub(crate) fn store_behind(&self, claim: &Arc<Claim>, rows: &[Stored], wanted: &[bool]) {
        for (index, writer) in &self.inner.writers {
            let entries = lacking(*index, &claim.keys, rows, |row| wanted[row]);
            if !entries.is_empty() {
                writer.put(entries, claim);
            }
        }
    }

    /// Takes rows that were [forgotten](Flights::forget) while they were written out of the local tiers again.
    pub(crate) async fn unstore_local(&self, keys: &[Key]) {
        for tier in self.inner.tiers.iter().filter(|tier| tier.is_local()) {
            // A local tier that can't remove what it stored a moment ago loses it in its own time.
            tier.tier.remove(keys).await.ok();
        }
    }
}

/// The entries that the tier at `index` lacks.
fn lacking(index: usize, keys: &[Key], rows: &[Stored], wanted: impl Fn(usize) -> bool) -> Vec<(Key, Value)> {
    rows.iter()
        .filter(|stored| index < stored.tier && wanted(stored.row))
        .map(|stored| (keys[stored.row].clone(), stored.value.clone()))
        .collect()
}

/// The tiers and what their breakers say.
impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("config", &self.inner.config)
            .field("tiers", &self.inner.tiers)
            .finish_non_exhaustive()
    }
}

/// The names of the tiers in their order: `memory, redis`.
impl fmt::Display for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, tier) in self.inner.tiers.iter().enumerate() {
            write!(f, "{}{}", if index == 0 { "" } else { ", " }, tier.label)?;
        }
        Ok(())
    }
}
