//! The cache: the tiers that several embedders share.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use embed_core::{Error, ErrorKind, ResponseBuilder, Result, RowInfo, Truncation};
use tokio::time;

use crate::flight::{Claim, Flights};
use crate::guard::{GuardedTier, REMOVAL};
use crate::stats::{Count, Miss};
use crate::writer::Writer;
use crate::{CacheConfig, CacheStats, Defect, Element, Key, Namespace, Tier, Value};

/// Tiers in lookup order, fastest first, for any number of embedders: each [`Cached`](crate::Cached) uses the namespace
/// of its variant. Cheap to clone; all clones are one cache.
///
/// A tier that fails, is slow, full or read-only, or holds bytes of another version costs callers at most its read
/// budget, and nothing after a few consecutive failures, until a trial succeeds. It never makes a request fail.
#[derive(Clone)]
pub struct Cache {
    inner: Arc<Inner>,
}

struct Inner {
    config: CacheConfig,
    tiers: Vec<Arc<GuardedTier>>,
    /// One for each tier that isn't local.
    writers: Vec<(usize, Writer)>,
    /// The flights of the embedders that use this cache.
    flights: Mutex<Vec<Weak<Flights>>>,
    counts: Counts,
}

#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) computed: Count,
    pub(crate) joined: Count,
    pub(crate) unfit: Count,
}

/// A lookup of texts in the tiers.
pub(crate) struct Lookup<'a> {
    /// The keys of the whole texts.
    keys: &'a [Key],
    /// How texts may be cut, if the request allows it.
    cut: Option<Truncation>,
    info: &'a RowInfo,
    rows: &'a mut ResponseBuilder,
    /// The rows not found so far. `None` stands for all rows, before the first lookup, so that a request whose rows
    /// are all in the first tier needs no list.
    missing: Option<Vec<usize>>,
}

/// A row to store in all tiers before `tier`.
pub(crate) struct RowToStore {
    pub(crate) row: usize,
    pub(crate) key: Key,
    pub(crate) tier: usize,
    pub(crate) value: Value,
}

/// A row found in a tier.
struct Hit<'a> {
    row: usize,
    key: &'a Key,
    value: Value,
}

/// Whether the entry of a text is for the whole text or a cut one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KeyForm {
    Whole,
    Cut,
}

impl<'a> Lookup<'a> {
    /// A lookup of whole texts by their keys, and of texts that were cut by `truncation`.
    pub(crate) fn new(
        keys: &'a [Key],
        truncation: Truncation,
        info: &'a RowInfo,
        rows: &'a mut ResponseBuilder,
    ) -> Self {
        let cut = Some(truncation).filter(|truncation| *truncation != Truncation::Error);
        Self { keys, cut, info, rows, missing: None }
    }

    fn is_complete(&self) -> bool {
        self.missing.as_ref().map_or(self.keys.is_empty(), Vec::is_empty)
    }

    /// The rows that are still missing.
    pub(crate) fn into_missing(self) -> Vec<usize> {
        self.missing.unwrap_or_else(|| (0..self.keys.len()).collect())
    }

    /// Sets a row to a tier's value, if that is a valid vector of its key.
    fn take(&mut self, row: usize, key: &Key, value: &Value, tier: &GuardedTier) -> Result<(), Miss> {
        let opened = value.open(key, self.info.model.dimension()).map_err(Miss::Defect)?;
        let mut info = self.info.clone();
        info.tokens = opened.facts.tokens;
        info.truncated = opened.facts.truncated;
        info.tier = Some(Arc::clone(&tier.label));
        let put = self.rows.put_with(row, info, |vector| opened.copy_to(vector));
        put.map_err(|_| Miss::Defect(Defect::Vector))
    }

    /// The keys of the missing rows in these forms, form by form.
    fn missing_keys(&self, forms: &[KeyForm]) -> Cow<'a, [Key]> {
        if let ([KeyForm::Whole], None) = (forms, &self.missing) {
            return Cow::Borrowed(self.keys);
        }
        let all = || 0..self.keys.len();
        let of_form = |form: &KeyForm| -> Vec<Key> {
            match &self.missing {
                Some(rows) => rows.iter().map(|&row| self.key(row, *form)).collect(),
                None => all().map(|row| self.key(row, *form)).collect(),
            }
        };
        Cow::Owned(forms.iter().flat_map(of_form).collect())
    }

    fn key(&self, row: usize, form: KeyForm) -> Key {
        match (form, self.cut) {
            (KeyForm::Cut, Some(cut)) => self.keys[row].cut(cut),
            _ => self.keys[row].clone(),
        }
    }
}

impl Cache {
    /// A cache over tiers, fastest first. Without tiers it still deduplicates texts.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if a setting is out of range or two tiers have the same name.
    pub fn new(config: CacheConfig, tiers: Vec<Arc<dyn Tier>>) -> Result<Self> {
        config.check()?;
        for (index, tier) in tiers.iter().enumerate() {
            if tiers.iter().take(index).any(|other| other.name() == tier.name()) {
                return Err(Error::new(ErrorKind::Config, "two tiers of a cache have the same name")
                    .with_context("tier", tier.name()));
            }
        }
        let tiers: Vec<_> = tiers.into_iter().map(|tier| Arc::new(GuardedTier::new(tier, &config))).collect();
        let remote = tiers.iter().enumerate().filter(|(_, tier)| !tier.is_local());
        let writers =
            remote.map(|(index, tier)| (index, Writer::new(Arc::clone(tier), config.queue_bytes))).collect();
        let inner = Inner { config, tiers, writers, flights: Mutex::default(), counts: Counts::default() };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Removes all rows of a namespace from every tier, or with `None` all rows of this software.
    ///
    /// Rows that are being computed still reach their callers, but aren't stored, nor are rows that are queued for
    /// storing: removed rows stay removed.
    ///
    /// # Errors
    ///
    /// The error of the first tier that fails; the others are cleared nevertheless. [`ErrorKind::Timeout`] if a write in
    /// flight didn't end in time, so that its rows may come back.
    pub async fn clear(&self, namespace: Option<&Namespace>) -> Result<()> {
        self.each_flights(|flights| flights.forget_all(namespace));
        let mut result = self.settle().await;
        for tier in &self.inner.tiers {
            result = result.and(tier.removal(tier.tier.clear(namespace)).await);
        }
        result
    }

    /// Removes some rows from every tier. Neither rows that are being computed nor rows that are queued are stored:
    /// removed rows stay removed.
    ///
    /// # Errors
    ///
    /// As [`clear`](Self::clear).
    pub async fn remove(&self, keys: &[Key]) -> Result<()> {
        self.each_flights(|flights| flights.forget(keys));
        let mut result = self.settle().await;
        for tier in &self.inner.tiers {
            result = result.and(tier.removal(tier.tier.remove(keys)).await);
        }
        result
    }

    /// Waits until the rows computed so far are stored, or given up. Call it before a program ends.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Timeout`] if that takes longer than `limit`; the rest is still being stored.
    pub async fn flush(&self, limit: Duration) -> Result<()> {
        let writers = futures::future::join_all(self.inner.writers.iter().map(|(_, writer)| writer.flush()));
        time::timeout(limit, writers).await.map(drop).map_err(|_| {
            let waiting: usize = self.inner.writers.iter().map(|(_, writer)| writer.waiting_bytes()).sum();
            Error::new(ErrorKind::Timeout, "the cache didn't store all vectors in time")
                .with_context("waiting_bytes", waiting)
        })
    }

    /// Waits for writes in flight; queued writes of forgotten rows are skipped.
    async fn settle(&self) -> Result<()> {
        self.flush(REMOVAL).await.map_err(|_| {
            let what = "a write of the cache takes too long, so its rows may come back; remove them again";
            Error::new(ErrorKind::Timeout, what).temporary()
        })
    }

    /// What has been done so far and what the tiers hold now, for which each of them is queried.
    pub async fn stats(&self) -> CacheStats {
        futures::future::join_all(self.inner.tiers.iter().map(|tier| tier.ask_what_it_holds())).await;
        self.counted()
    }

    /// The same without querying tiers: for a tier outside this process, the contents are those of the last
    /// [`stats`](Self::stats). Cheap enough for every scrape.
    #[must_use]
    pub fn counted(&self) -> CacheStats {
        let tiers = self.inner.tiers.iter().map(|tier| tier.report()).collect();
        let Counts { computed, joined, unfit } = &self.inner.counts;
        CacheStats { tiers, computed: computed.read(), joined: joined.read(), unfit: unfit.read() }
    }

    /// Makes a trial of each tier whose breaker is open and whose pause is over, so that it is used again even without
    /// requests. [`Cached`](crate::Cached) does so in its health check.
    ///
    /// # Cancellation
    ///
    /// Dropping the future abandons the trial; the next one may begin at once.
    pub async fn try_again(&self) {
        futures::future::join_all(self.inner.tiers.iter().map(|tier| tier.try_again())).await;
    }

    /// A tier whose breaker for reads is open, and its last error.
    pub(crate) fn failing_tier(&self) -> Option<(&str, Option<Error>)> {
        let tier = self.inner.tiers.iter().find(|tier| tier.is_open())?;
        Some((tier.tier.name(), tier.read_fault()))
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.inner.counts
    }

    pub(crate) fn element(&self) -> Element {
        self.inner.config.element
    }

    /// Registers flights, whose keys are forgotten when this cache removes rows.
    pub(crate) fn register(&self, flights: &Arc<Flights>) {
        let mut all = self.inner.flights.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|flights| flights.strong_count() > 0);
        all.push(Arc::downgrade(flights));
    }

    fn each_flights(&self, act: impl Fn(&Flights)) {
        // The lock isn't held while `act` runs, which takes another lock.
        let all = self.inner.flights.lock().unwrap_or_else(PoisonError::into_inner).clone();
        all.iter().filter_map(Weak::upgrade).for_each(|flights| act(&flights));
    }

    /// Reads the local tiers, in the caller's task.
    pub(crate) async fn read_local(&self, read: &mut Lookup<'_>) {
        for tier in self.inner.tiers.iter().filter(|tier| tier.is_local()) {
            if read.is_complete() {
                return;
            }
            self.read_tier(tier, read, true, |_| ()).await;
        }
    }

    /// Reads all tiers, in a flight; returns the rows that are missing in faster ones. Another flight may have filled a
    /// local tier since the caller's lookup, so local tiers are read again; their misses aren't counted twice.
    pub(crate) async fn read_all(&self, read: &mut Lookup<'_>) -> Vec<RowToStore> {
        let mut found = Vec::new();
        for (index, tier) in self.inner.tiers.iter().enumerate() {
            if read.is_complete() {
                break;
            }
            let count_misses = !tier.is_local();
            self.read_tier(tier, read, count_misses, |Hit { row, key, value }| {
                found.push(RowToStore { row, key: key.clone(), tier: index, value });
            })
            .await;
        }
        found
    }

    /// Reads one tier. In a local one whole texts are looked up first, so that a hit costs one lookup; in a remote one all
    /// forms are looked up at once, so that a miss costs one round trip.
    async fn read_tier(
        &self,
        tier: &GuardedTier,
        read: &mut Lookup<'_>,
        count_misses: bool,
        mut found: impl FnMut(Hit<'_>),
    ) {
        let steps: &[&[KeyForm]] = match (read.cut, tier.is_local()) {
            (None, _) => &[&[KeyForm::Whole]],
            (Some(_), true) => &[&[KeyForm::Whole], &[KeyForm::Cut]],
            (Some(_), false) => &[&[KeyForm::Whole, KeyForm::Cut]],
        };
        let mut defects = Vec::new();
        for forms in steps {
            let keys = read.missing_keys(forms);
            let asked = keys.len() / forms.len();
            if asked == 0 {
                break;
            }
            let Some(mut values) = tier.get_many(&keys, asked).await else {
                return;
            };
            let rows = read.missing.take();
            let mut missing = Vec::new();
            for index in 0..asked {
                let row = rows.as_ref().map_or(index, |rows| rows[index]);
                let mut is_there = false;
                for place in (index..keys.len()).step_by(asked) {
                    let Some(value) = values[place].take() else { continue };
                    match read.take(row, &keys[place], &value, tier) {
                        Ok(()) => {
                            found(Hit { row, key: &keys[place], value });
                            is_there = true;
                            break;
                        }
                        Err(miss) => defects.push((row, miss)),
                    }
                }
                if !is_there {
                    missing.push(row);
                }
            }
            tier.hits.add(asked - missing.len());
            read.missing = Some(missing);
        }
        if !count_misses {
            return;
        }
        for row in read.missing.as_deref().unwrap_or_default() {
            let defect = defects.iter().find(|(defective, _)| defective == row);
            let miss = defect.map_or(Miss::Absent, |(_, miss)| *miss);
            tier.misses.add(miss.as_str(), 1);
        }
    }

    /// Writes the rows that weren't forgotten to the local tiers.
    pub(crate) async fn store_local(&self, rows: &[RowToStore], wanted: &[bool]) {
        for (index, tier) in self.inner.tiers.iter().enumerate().filter(|(_, tier)| tier.is_local()) {
            let entries = lacking(index, rows, wanted);
            if !entries.is_empty() {
                tier.put_many(&entries).await;
            }
        }
    }

    /// Queues the rows that weren't forgotten for the other tiers.
    pub(crate) fn store_behind(&self, claim: &Arc<Claim>, rows: &[RowToStore], wanted: &[bool]) {
        for (index, writer) in &self.inner.writers {
            let entries = lacking(*index, rows, wanted);
            if !entries.is_empty() {
                writer.put(entries, claim);
            }
        }
    }

    /// Removes rows that were [forgotten](Flights::forget) while they were written to the local tiers.
    pub(crate) async fn unstore_local(&self, keys: &[Key]) {
        for tier in self.inner.tiers.iter().filter(|tier| tier.is_local()) {
            // If that fails, the entry stays until it expires or is evicted.
            tier.tier.remove(keys).await.ok();
        }
    }
}

/// The entries that the tier at `index` lacks.
fn lacking(index: usize, rows: &[RowToStore], wanted: &[bool]) -> Vec<(Key, Value)> {
    rows.iter()
        .filter(|stored| index < stored.tier && wanted[stored.row])
        .map(|stored| (stored.key.clone(), stored.value.clone()))
        .collect()
}

/// Shows the tiers and their breakers.
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
