//! Protection against failing tiers: time budgets, breakers and counts.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use embed_core::{Error, ErrorKind, Result, Role, SharedBreaker, Truncation};
use futures::FutureExt;
use futures::future::poll_immediate;
use tokio::time;

use crate::stats::{ByReason, Count, Miss};
use crate::{CacheConfig, Key, Namespace, Tier, TierReport, TierStats, Value};

/// How long a removal may take: about the time that Redis needs to scan ten million keys.
pub(crate) const REMOVAL: Duration = Duration::from_secs(30);

/// A tier whose failures can't harm requests.
#[derive(Debug)]
pub(crate) struct GuardedTier {
    pub(crate) tier: Arc<dyn Tier>,
    /// The tier's name, shared with rows.
    pub(crate) label: Arc<str>,
    reads: CallGuard,
    writes: CallGuard,
    pub(crate) hits: Count,
    pub(crate) misses: ByReason,
    stored: Count,
    pub(crate) unstored: ByReason,
    /// What it held at the last query.
    holds: Mutex<Option<TierStats>>,
}

/// A breaker and a budget for one kind of call.
#[derive(Debug)]
struct CallGuard {
    breaker: SharedBreaker,
    budget: Duration,
    /// Why the last call failed; empty if it succeeded.
    fault: Mutex<Option<Error>>,
    has_fault: AtomicBool,
}

impl GuardedTier {
    pub(crate) fn new(tier: Arc<dyn Tier>, config: &CacheConfig) -> Self {
        let gate = |budget| CallGuard {
            breaker: SharedBreaker::new(config.breaker),
            budget,
            fault: Mutex::default(),
            has_fault: AtomicBool::new(false),
        };
        Self {
            label: tier.name().into(),
            reads: gate(config.read_budget),
            writes: gate(config.write_budget),
            tier,
            hits: Count::default(),
            misses: ByReason::default(),
            stored: Count::default(),
            unstored: ByReason::default(),
            holds: Mutex::default(),
        }
    }

    pub(crate) fn is_local(&self) -> bool {
        self.tier.is_local()
    }

    pub(crate) fn is_open(&self) -> bool {
        self.reads.breaker.is_open()
    }

    pub(crate) fn read_fault(&self) -> Option<Error> {
        self.reads.fault().clone()
    }

    /// One answer for each key; a failed lookup is counted as a miss of all `rows`.
    pub(crate) async fn get_many(&self, keys: &[Key], rows: usize) -> Option<Vec<Option<Value>>> {
        let read = async {
            let values = match self.tier.get_now(keys) {
                Some(values) => values,
                None => self.tier.get_many(keys).await?,
            };
            if values.len() == keys.len() {
                return Ok(values);
            }
            Err(Error::new(ErrorKind::Protocol, "a cache tier didn't return exactly one answer for each key"))
        };
        // A local tier answers at once: it needs no clock, and the future of a hit no room for a timer.
        let values = if self.is_local() {
            read.await.map_err(|error| Miss::Failed(error.kind()))
        } else {
            Box::pin(self.reads.run(read)).await
        };
        values.map_err(|miss| self.misses.add(miss.as_str(), rows as u64)).ok()
    }

    /// Stores the entries, or counts why not.
    pub(crate) async fn put_many(&self, entries: &[(Key, Value)]) {
        match self.writes.run(self.tier.put_many(entries)).await {
            Ok(()) => self.stored.add(entries.len()),
            Err(miss) => self.unstored.add(miss.as_str(), entries.len() as u64),
        }
    }

    /// Runs a removal within its time limit; an error names the tier.
    pub(crate) async fn removal(&self, call: impl Future<Output = Result<()>>) -> Result<()> {
        within(REMOVAL, call).await.map_err(|error| error.with_context("tier", self.tier.name()))
    }

    /// Makes the trials that are due: looks up, writes and removes a key that isn't otherwise used.
    pub(crate) async fn try_again(&self) {
        let key = || Key::new(&Namespace::named("trial"), Role::Query, Truncation::Error, "");
        if self.reads.is_due() {
            let keys = [key()];
            let _ = self.reads.run(self.tier.get_many(&keys)).await;
        }
        if self.writes.is_due() {
            let entry = [(key(), Value::from_bytes(Vec::new()))];
            let _ = self.writes.run(self.tier.put_many(&entry)).await;
            // If it can't be removed, it expires.
            let _ = within(self.writes.budget, self.tier.remove(&[key()])).await;
        }
    }

    /// Queries what it holds.
    pub(crate) async fn ask_what_it_holds(&self) {
        let holds = time::timeout(self.writes.budget, self.tier.stats()).await;
        *lock(&self.holds) = holds.ok().and_then(Result::ok);
    }

    pub(crate) fn report(&self) -> TierReport {
        if self.is_local()
            && let Some(Ok(holds)) = self.tier.stats().now_or_never()
        {
            *lock(&self.holds) = Some(holds);
        }
        let said = |fault: &Option<Error>| fault.as_ref().map(ToString::to_string);
        TierReport {
            name: Arc::clone(&self.label),
            hits: self.hits.read(),
            misses: self.misses.read(),
            stored: self.stored.read(),
            unstored: self.unstored.read(),
            is_open: self.is_open(),
            is_write_open: self.writes.breaker.is_open(),
            openings: self.reads.breaker.openings() + self.writes.breaker.openings(),
            read_fault: said(&self.reads.fault()),
            write_fault: said(&self.writes.fault()),
            holds: *lock(&self.holds),
        }
    }
}

impl CallGuard {
    async fn run<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T, Miss> {
        let Some(pass) = self.breaker.enter(now) else {
            return Err(Miss::BreakerOpen);
        };
        match within(self.budget, call).await {
            Ok(done) => {
                pass.succeeded();
                if self.has_fault.swap(false, Ordering::Relaxed) {
                    *self.fault() = None;
                }
                Ok(done)
            }
            Err(error) => {
                pass.failed(now());
                let kind = error.kind();
                *self.fault() = Some(error);
                self.has_fault.store(true, Ordering::Relaxed);
                Err(Miss::Failed(kind))
            }
        }
    }

    /// Whether it is open and a trial may begin.
    fn is_due(&self) -> bool {
        self.breaker.is_open() && self.breaker.lets_through(now())
    }

    fn fault(&self) -> MutexGuard<'_, Option<Error>> {
        lock(&self.fault)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The result of a call, or an error of kind [`ErrorKind::Timeout`] if it exceeds its budget. A call that is ready at once
/// needs no timer.
async fn within<T>(budget: Duration, call: impl Future<Output = Result<T>>) -> Result<T> {
    let mut call = std::pin::pin!(call);
    if let Some(result) = poll_immediate(&mut call).await {
        return result;
    }
    time::timeout(budget, call)
        .await
        .unwrap_or_else(|_| Err(Error::new(ErrorKind::Timeout, "a cache tier didn't answer in time")))
}

/// The runtime's time, which tests may pause, in the type that breakers and deadlines use.
pub(crate) fn now() -> Instant {
    time::Instant::now().into_std()
}
