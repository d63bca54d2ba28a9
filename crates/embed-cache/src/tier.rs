//! The trait of cache tiers.

use std::fmt::Debug;

use embed_core::{Result, async_trait};
use serde::Serialize;

use crate::{Key, Namespace, Value};

/// A store of [`Value`]s under [`Key`]s: memory, Redis, or your own.
///
/// A tier stores bytes and returns an error when it can't. [`Cache`](crate::Cache) does everything else: the time
/// budget, the breaker, the check of returned values. So an implementation needs no timeouts, retries or checks. It may
/// drop entries at any time.
#[async_trait]
pub trait Tier: Debug + Send + Sync + 'static {
    /// One lower-case word for rows, labels and logs: `memory`, `redis`.
    fn name(&self) -> &str;

    /// Whether it answers from this process, without waiting for anything. Such a tier is read in the caller's task,
    /// before calls for the same text are merged, and written before the caller gets its rows.
    fn is_local(&self) -> bool {
        false
    }

    /// Looks up all keys at once: one answer for each key, in their order; `None` if there is no entry.
    ///
    /// # Errors
    ///
    /// If the lookup failed. All keys are then misses, counted under the error's kind.
    ///
    /// # Cancellation
    ///
    /// The future is dropped when the read budget is exceeded.
    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Value>>>;

    /// Like [`get_many`](Self::get_many) without a future, whose cost would be noticeable for a hit in memory; `None`,
    /// the default, if the tier can't do that.
    fn get_now(&self, _keys: &[Key]) -> Option<Vec<Option<Value>>> {
        None
    }

    /// Stores all entries, replacing existing ones.
    ///
    /// # Errors
    ///
    /// If it couldn't store all of them. Those that it stored may stay.
    async fn put_many(&self, entries: &[(Key, Value)]) -> Result<()>;

    /// Removes entries; a missing key isn't an error.
    ///
    /// # Errors
    ///
    /// If one may still be there.
    async fn remove(&self, keys: &[Key]) -> Result<()>;

    /// Removes all entries of a namespace, or with `None` all that this software has stored, of every schema.
    ///
    /// # Errors
    ///
    /// If some may still be there.
    async fn clear(&self, namespace: Option<&Namespace>) -> Result<()>;

    /// What it holds, as far as it knows that cheaply.
    ///
    /// # Errors
    ///
    /// If the query failed.
    async fn stats(&self) -> Result<TierStats>;
}

/// What a tier holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TierStats {
    /// Entries.
    pub entries: Option<u64>,
    /// Bytes that they take, the tier's overhead included.
    pub bytes: Option<u64>,
    /// Bytes that they may take.
    pub limit: Option<u64>,
    /// Entries that were evicted to make room.
    pub evicted: u64,
    /// Entries that had expired.
    pub expired: u64,
}

impl TierStats {
    /// Nothing is known, nothing was evicted.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}
