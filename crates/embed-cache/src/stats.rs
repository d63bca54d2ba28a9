//! What a cache has done so far.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use embed_core::ErrorKind;
use serde::Serialize;

use crate::{Defect, TierStats};

/// What a [`Cache`](crate::Cache) has done since it was made, all embedders that share it together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CacheStats {
    /// The tiers, in the order in which they are asked.
    pub tiers: Vec<TierReport>,
    /// Rows that a back end was asked for.
    pub computed: u64,
    /// Rows that another call was already computing: what single-flight has saved, texts that a request holds
    /// twice included.
    pub joined: u64,
    /// Rows that weren't stored, because they failed or because the back end has become another variant.
    pub unfit: u64,
}

/// What one tier has done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TierReport {
    /// Its name.
    pub name: Arc<str>,
    /// Rows that it gave.
    pub hits: u64,
    /// Rows that it was asked for and didn't give, by reason: `absent`, `breaker_open`, the kind of an error (`timeout`
    /// if its budget was over), or a [`Defect`].
    pub misses: BTreeMap<&'static str, u64>,
    /// Rows that it has stored.
    pub stored: u64,
    /// Rows that it didn't store, by the kind of error, `breaker_open` or `queue_full`.
    pub unstored: BTreeMap<&'static str, u64>,
    /// Whether it is left alone for now, because it failed when it was read.
    pub is_open: bool,
    /// Whether nothing is written to it for now, because that failed.
    pub is_write_open: bool,
    /// Times that it was left alone because it failed, for reading and for writing.
    pub openings: u64,
    /// Why the last read failed, in a sentence; `None` if it succeeded.
    pub read_fault: Option<String>,
    /// Why the last write failed; `None` if it succeeded.
    pub write_fault: Option<String>,
    /// What it holds, if it could be asked.
    pub holds: Option<TierStats>,
}

/// Why a tier gave no row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Miss {
    /// It hasn't got it.
    Absent,
    /// It wasn't asked, for it failed just before.
    BreakerOpen,
    /// It failed; a budget that is over is [`ErrorKind::Timeout`].
    Failed(ErrorKind),
    /// What it has isn't a vector of that key.
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

/// Counts by reason. The reasons are words of this software, so there are few.
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

/// A count that many threads add to.
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
