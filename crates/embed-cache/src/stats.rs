//! Statistics of a cache.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use embed_core::ErrorKind;
use serde::Serialize;

use crate::{Defect, TierStats};

/// What a [`Cache`](crate::Cache) has done since its creation, for all embedders that share it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CacheStats {
    /// The tiers, in lookup order.
    pub tiers: Vec<TierReport>,
    /// Rows requested from a back end.
    pub computed: u64,
    /// Rows that another call was already computing, and duplicates within a request: what single-flight saved.
    pub joined: u64,
    /// Rows that weren't stored, because they failed or because the back end's variant has changed.
    pub unfit: u64,
}

/// What one tier has done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TierReport {
    /// Its name.
    pub name: Arc<str>,
    /// Rows found in it.
    pub hits: u64,
    /// Rows not found in it, by reason: `absent`, `breaker_open`, the kind of an error (`timeout` if the budget was
    /// exceeded), or a [`Defect`].
    pub misses: BTreeMap<&'static str, u64>,
    /// Rows that it has stored.
    pub stored: u64,
    /// Rows that it didn't store, by reason: the kind of an error, `breaker_open` or `queue_full`.
    pub unstored: BTreeMap<&'static str, u64>,
    /// Whether the breaker for reads is open, because reads failed.
    pub is_open: bool,
    /// Whether the breaker for writes is open, because writes failed.
    pub is_write_open: bool,
    /// How often the two breakers have opened.
    pub openings: u64,
    /// Why the last read failed, in a sentence; `None` if it succeeded.
    pub read_fault: Option<String>,
    /// Why the last write failed; `None` if it succeeded.
    pub write_fault: Option<String>,
    /// What it holds, if known.
    pub holds: Option<TierStats>,
}

/// Why a lookup in a tier missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Miss {
    /// It has no entry.
    Absent,
    /// It wasn't called, because its breaker is open.
    BreakerOpen,
    /// It failed; an exceeded budget is [`ErrorKind::Timeout`].
    Failed(ErrorKind),
    /// Its entry isn't a vector of that key.
    Defect(Defect),
}

impl Miss {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::BreakerOpen => "breaker_open",
            Self::Failed(kind) => kind.as_str(),
            Self::Defect(defect) => defect.as_str(),
        }
    }
}

/// Counts by reason. All reasons are constants of this software, so there are few.
#[derive(Debug, Default)]
pub(crate) struct ByReason(Mutex<BTreeMap<&'static str, u64>>);

impl ByReason {
    pub(crate) fn add(&self, reason: &'static str, count: u64) {
        *self.lock().entry(reason).or_default() += count;
    }

    pub(crate) fn read(&self) -> BTreeMap<&'static str, u64> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A count shared by threads.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, count: usize) {
        self.0.fetch_add(count as u64, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
