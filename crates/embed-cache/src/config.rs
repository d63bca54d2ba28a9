//! The settings of a cache and their validation.

use std::time::Duration;

use embed_core::{BreakerConfig, Error, ErrorKind, Result};

use crate::Element;

/// Settings of a [`Cache`](crate::Cache): how tiers are used. What a tier holds is a setting of the tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheConfig {
    /// How long a tier that isn't [local](crate::Tier::is_local) may take to answer a read. After that its keys
    /// are misses. A Redis in the same network answers in well under a millisecond.
    pub read_budget: Duration,
    /// How long such a tier may take to store the rows of one call. Only other writes wait for it.
    pub write_budget: Duration,
    /// When the breaker of a failing tier opens, and when it lets a trial through. Reads and writes have one breaker
    /// each, since a tier that is full or read-only can still be read.
    pub breaker: BreakerConfig,
    /// Bytes of vectors that may be queued for storing. Rows that don't fit aren't stored, and are counted.
    pub queue_bytes: usize,
    /// The number format of stored vectors. Values in the other format are still read.
    pub element: Element,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            read_budget: Duration::from_millis(10),
            write_budget: Duration::from_secs(1),
            // A recovered cache should be used again soon, and a trial costs one caller at most the read budget.
            breaker: BreakerConfig::default().with_pauses(Duration::from_millis(500), Duration::from_secs(5)),
            queue_bytes: 16 << 20,
            element: Element::F32,
        }
    }
}

impl CacheConfig {
    /// Sets [`read_budget`](Self::read_budget).
    #[must_use]
    pub fn with_read_budget(mut self, budget: Duration) -> Self {
        self.read_budget = budget;
        self
    }

    /// Sets [`write_budget`](Self::write_budget).
    #[must_use]
    pub fn with_write_budget(mut self, budget: Duration) -> Self {
        self.write_budget = budget;
        self
    }

    /// Sets [`breaker`](Self::breaker).
    #[must_use]
    pub fn with_breaker(mut self, breaker: BreakerConfig) -> Self {
        self.breaker = breaker;
        self
    }

    /// Sets [`queue_bytes`](Self::queue_bytes).
    #[must_use]
    pub fn with_queue_bytes(mut self, bytes: usize) -> Self {
        self.queue_bytes = bytes;
        self
    }

    /// Sets [`element`](Self::element).
    #[must_use]
    pub fn with_element(mut self, element: Element) -> Self {
        self.element = element;
        self
    }

    pub(crate) fn check(&self) -> Result<()> {
        let zero = [
            ("read_budget", self.read_budget.is_zero()),
            ("write_budget", self.write_budget.is_zero()),
            ("breaker.failures", self.breaker.failures == 0),
            ("breaker.first_pause", self.breaker.first_pause.is_zero()),
        ];
        match zero.iter().find(|(_, is_zero)| *is_zero) {
            Some((field, _)) => {
                Err(Error::new(ErrorKind::Config, "a setting of the cache must be above zero")
                    .with_context("field", field))
            }
            None => Ok(()),
        }
    }
}
