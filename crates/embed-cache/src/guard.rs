//! A tier behind what makes it harmless: a time budget, a breaker, counts.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use embed_core::{Breaker, Error, ErrorKind, Pass, Result};
use futures::future::poll_immediate;
use tokio::time;

use crate::stats::{ByReason, Count, Miss};
use crate::{CacheConfig, Key, Tier, TierReport, Value};

/// How long a removal may take: to look through ten million keys takes Redis about this long.
const REMOVAL: Duration = Duration::from_secs(30);

/// A tier that can fail and can't hurt.
#[derive(Debug)]
pub(crate) struct Guarded {
    pub(crate) tier: Arc<dyn Tier>,
    /// The name as rows carry it.
    pub(crate) label: Arc<str>,
    reads: Gate,
    writes: Gate,
    pub(crate) hits: Count,
    pub(crate) misses: ByReason,
    stored: Count,
    pub(crate) unstored: ByReason,
}

/// A breaker and a budget for one kind of call.
#[derive(Debug)]
struct Gate {
    breaker: Mutex<Breaker>,
    budget: Duration,
}

/// A call that the breaker let through, which hears of it however the call ends.
struct Visit<'a> {
    gate: &'a Gate,
    pass: Option<Pass>,
}

impl Guarded {
    pub(crate) fn new(tier: Arc<dyn Tier>, config: &CacheConfig) -> Self {
        let gate = |budget| Gate { breaker: Mutex::new(Breaker::new(config.breaker)), budget };
        Self {
            label: tier.name().into(),
            reads: gate(config.read_budget),
            writes: gate(config.write_budget),
            tier,
            hits: Count::default(),
            misses: ByReason::default(),
            stored: Count::default(),
            unstored: ByReason::default(),
        }
    }

    pub(crate) fn is_local(&self) -> bool {
        self.tier.is_local()
    }

    pub(crate) fn is_open(&self) -> bool {
        self.reads.lock().is_open()
    }

    /// One answer for each key; a tier that couldn't look is counted as a miss of all of them.
    pub(crate) async fn get_many(&self, keys: &[Key]) -> Option<Vec<Option<Value>>> {
        let read = async {
            let values = self.tier.get_many(keys).await?;
            if values.len() == keys.len() {
                return Ok(values);
            }
            Err(Error::new(
                ErrorKind::Protocol,
                "a cache tier gave another number of answers than it was asked",
            ))
        };
        // A local tier answers at once, so its callers needn't ask the clock.
        let values = if self.is_local() {
            read.await.map_err(|error| Miss::Failed(error.kind()))
        } else {
            self.reads.run(read).await
        };
        values.map_err(|miss| self.misses.add(miss.as_str(), keys.len() as u64)).ok()
    }

    /// Stores the entries, or counts why not.
    pub(crate) async fn put_many(&self, entries: &[(Key, Value)]) {
        match self.writes.run(self.tier.put_many(entries)).await {
            Ok(()) => self.stored.add(entries.len()),
            Err(miss) => self.unstored.add(miss.as_str(), entries.len() as u64),
        }
    }

    /// What a caller waits for who wants something gone; an error names the tier.
    pub(crate) async fn removal(&self, call: impl Future<Output = Result<()>>) -> Result<()> {
        within(REMOVAL, call).await.map_err(|error| error.with_context("tier", self.tier.name()))
    }

    pub(crate) async fn report(&self) -> TierReport {
        let holds = time::timeout(self.writes.budget, self.tier.stats()).await;
        TierReport {
            name: self.tier.name(),
            hits: self.hits.read(),
            misses: self.misses.read(),
            stored: self.stored.read(),
            unstored: self.unstored.read(),
            is_open: self.is_open(),
            is_write_open: self.writes.lock().is_open(),
            holds: holds.ok().and_then(Result::ok),
        }
    }
}

impl Gate {
    async fn run<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T, Miss> {
        let Some(visit) = self.visit() else {
            return Err(Miss::BreakerOpen);
        };
        let result = within(self.budget, call).await;
        visit.settle(result.is_ok());
        result.map_err(|error| Miss::Failed(error.kind()))
    }

    fn visit(&self) -> Option<Visit<'_>> {
        let pass = self.lock().pass(now())?;
        Some(Visit { gate: self, pass: Some(pass) })
    }

    fn lock(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Visit<'_> {
    fn settle(mut self, went_well: bool) {
        let Some(pass) = self.pass.take() else { return };
        let mut breaker = self.gate.lock();
        if went_well {
            breaker.succeeded(pass);
        } else {
            breaker.failed(now(), pass);
        }
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        if let Some(pass) = self.pass.take() {
            self.gate.lock().abandoned(pass);
        }
    }
}

/// What a call gives, or an error of kind [`ErrorKind::Timeout`] when its time is over. What is ready at once
/// costs no timer.
async fn within<T>(budget: Duration, call: impl Future<Output = Result<T>>) -> Result<T> {
    let mut call = std::pin::pin!(call);
    if let Some(result) = poll_immediate(&mut call).await {
        return result;
    }
    time::timeout(budget, call)
        .await
        .unwrap_or_else(|_| Err(Error::new(ErrorKind::Timeout, "a cache tier didn't answer in its time")))
}

/// The time of the runtime, which a test may have stopped, as breakers and deadlines take it.
pub(crate) fn now() -> Instant {
    time::Instant::now().into_std()
}
