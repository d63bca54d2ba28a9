//! One breaker for many callers at once.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::breaker::{Breaker, BreakerConfig, Pass};

/// A [`Breaker`] behind a lock. A call that it lets through holds a [`BreakerGuard`], which reports to the breaker how
/// the call ended, or that it was dropped.
///
/// ```
/// use std::time::{Duration, Instant};
/// use embed_core::{BreakerConfig, SharedBreaker};
///
/// let breaker = SharedBreaker::new(BreakerConfig::default().with_failures(1));
/// let now = Instant::now();
/// breaker.enter(|| now).unwrap().failed(now);
/// assert!(breaker.is_open() && breaker.enter(|| now).is_none());
/// let after = || now + Duration::from_secs(1);
/// drop(breaker.enter(after).unwrap());
/// assert!(breaker.enter(after).unwrap().succeeded(), "a dropped trial doesn't count");
/// assert_eq!(breaker.openings(), 1);
/// ```
#[derive(Debug)]
pub struct SharedBreaker {
    breaker: Mutex<Breaker>,
    /// Whether it has seen no failure since the last success, so that another success changes nothing and needs no lock.
    is_calm: AtomicBool,
    openings: AtomicU64,
}

/// A call that a breaker let through. Dropping it reports the call as abandoned.
#[derive(Debug)]
#[must_use]
pub struct BreakerGuard<'b> {
    breaker: &'b SharedBreaker,
    pass: Option<Pass>,
}

impl SharedBreaker {
    /// A closed breaker.
    #[must_use]
    pub fn new(config: BreakerConfig) -> Self {
        let breaker = Mutex::new(Breaker::new(config));
        Self { breaker, is_calm: AtomicBool::new(true), openings: AtomicU64::new(0) }
    }

    /// Lets a call through; `None` if the breaker refuses it. The time is asked for only after a failure.
    pub fn enter(&self, now: impl FnOnce() -> Instant) -> Option<BreakerGuard<'_>> {
        let pass = if self.is_calm() { Pass::Closed } else { self.lock().pass(now())? };
        Some(BreakerGuard { breaker: self, pass: Some(pass) })
    }

    /// Whether it is open or half-open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.is_calm() && self.lock().is_open()
    }

    /// Whether a call would be let through now.
    #[must_use]
    pub fn lets_through(&self, now: Instant) -> bool {
        self.lock().lets_through(now)
    }

    /// See [`Breaker::next_trial`].
    #[must_use]
    pub fn next_trial(&self) -> Option<Instant> {
        self.lock().next_trial()
    }

    /// How often it opened.
    #[must_use]
    pub fn openings(&self) -> u64 {
        self.openings.load(Ordering::Relaxed)
    }

    fn is_calm(&self) -> bool {
        self.is_calm.load(Ordering::Relaxed)
    }

    /// Tells it how a call went.
    fn settle<R>(&self, settle: impl FnOnce(&mut Breaker) -> R) -> R {
        let mut breaker = self.lock();
        let settled = settle(&mut breaker);
        self.is_calm.store(breaker.is_calm(), Ordering::Relaxed);
        settled
    }

    fn lock(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BreakerGuard<'_> {
    /// The call succeeded; true if that closed the breaker.
    pub fn succeeded(mut self) -> bool {
        let pass = self.pass.take();
        !self.breaker.is_calm()
            && pass.is_some_and(|pass| self.breaker.settle(|breaker| breaker.succeeded(pass)))
    }

    /// The call failed; true if that opened the breaker.
    pub fn failed(mut self, now: Instant) -> bool {
        let pass = self.pass.take();
        let opened = pass.is_some_and(|pass| self.breaker.settle(|breaker| breaker.failed(now, pass)));
        self.breaker.openings.fetch_add(u64::from(opened), Ordering::Relaxed);
        opened
    }
}

impl Drop for BreakerGuard<'_> {
    fn drop(&mut self) {
        if let Some(pass) = self.pass.take() {
            self.breaker.lock().abandoned(pass);
        }
    }
}
