//! What stores vectors: the trait that the tiers here implement, and others may.

use std::fmt::Debug;

use embed_core::{Result, async_trait};
use serde::Serialize;

use crate::{Key, Namespace, Value};

/// A place that keeps [`Value`]s under [`Key`]s: memory, Redis, or one of your own.
///
/// A tier stores bytes and says honestly when it can't. Everything else is done around it by
/// [`Cache`](crate::Cache): the bound on its time, the breaker, the check of what it returns. So an
/// implementation needs no time-outs, retries or checks of its own. It may forget entries whenever it likes.
#[async_trait]
pub trait Tier: Debug + Send + Sync + 'static {
    /// One lower-case word for rows, labels and logs: `memory`, `redis`.
    fn name(&self) -> &str;

    /// Whether it answers from this process, without waiting for anything. Such a tier is asked on the
    /// caller's own path, before calls for the same text are brought together, and written before the caller
    /// has its rows.
    fn is_local(&self) -> bool {
        false
    }

    /// Looks all keys up at once: one answer for each key, in their order; `None` where it has nothing.
    ///
    /// # Errors
    ///
    /// If it couldn't look. All keys are misses then, counted under the error's kind.
    ///
    /// # Cancellation
    ///
    /// The future is dropped when its time is over.
    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Value>>>;

    /// The same as [`get_many`](Self::get_many) without a future, which a hit in memory would pay for; `None`, the
    /// default, if there is no such way.
    fn get_now(&self, _keys: &[Key]) -> Option<Vec<Option<Value>>> {
        None
    }

    /// Stores all entries, in place of what is there.
    ///
    /// # Errors
    ///
    /// If it couldn't store them all. Those that it could may stay.
    async fn put_many(&self, entries: &[(Key, Value)]) -> Result<()>;

    /// Removes entries; a key that isn't there is no error.
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

    /// What it holds, as far as it can say cheaply.
    ///
    /// # Errors
    ///
    /// If it can't be asked.
    async fn stats(&self) -> Result<TierStats>;
}

/// What a tier holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TierStats {
    /// Entries.
    pub entries: Option<u64>,
    /// Bytes that they take, the tier's own overhead included.
    pub bytes: Option<u64>,
    /// Bytes that they may take.
    pub limit: Option<u64>,
    /// Entries that were thrown out to make room.
    pub evicted: u64,
    /// Entries that were found too old.
    pub expired: u64,
}

impl TierStats {
    /// Nothing is known, nothing was thrown out.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}
