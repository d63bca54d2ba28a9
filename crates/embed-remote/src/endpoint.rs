//! One server: its connections and permits, the session with it, and whether it is asked.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use embed_core::{Breaker, BreakerConfig, Pass};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::http::Http;
use crate::stats::{Counters, add};

/// One server, and what was found out of it: `S`, its session.
///
/// A failure that counts for its breaker also ends the session: who answers next may be another server.
#[derive(Debug)]
pub struct Endpoint<S> {
    http: Http,
    stats: Arc<Counters>,
    pool_size: usize,
    permits: Arc<Semaphore>,
    outstanding: AtomicUsize,
    /// The connections up to which the server is known to be who it was.
    verified: AtomicUsize,
    state: Mutex<State<S>>,
    handshake: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct State<S> {
    breaker: Breaker,
    session: Option<Arc<S>>,
    /// The session before the connection was lost.
    former: Option<Arc<S>>,
}

/// What has an endpoint: a server of a protocol.
pub trait Member: Send + Sync {
    /// What is found out of a server.
    type Session: Send + Sync;

    /// The endpoint.
    fn endpoint(&self) -> &Endpoint<Self::Session>;

    /// Whether it asked to be left alone for now, so that others are asked first.
    fn is_throttled(&self) -> bool {
        false
    }

    /// Called before a failure of the server ends its session.
    fn on_failure(&self) {}
}

impl<S> Endpoint<S> {
    /// A server without a session, and so many requests at once.
    #[must_use]
    pub fn new(http: Http, pool_size: usize, breaker: BreakerConfig, stats: Arc<Counters>) -> Self {
        Self {
            http,
            stats,
            pool_size,
            permits: Arc::new(Semaphore::new(pool_size)),
            outstanding: AtomicUsize::new(0),
            verified: AtomicUsize::new(0),
            state: Mutex::new(State { breaker: Breaker::new(breaker), session: None, former: None }),
            handshake: tokio::sync::Mutex::new(()),
        }
    }

    fn state(&self) -> MutexGuard<'_, State<S>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its HTTP client.
    #[must_use]
    pub fn http(&self) -> &Http {
        &self.http
    }

    /// What is counted.
    #[must_use]
    pub fn stats(&self) -> &Arc<Counters> {
        &self.stats
    }

    /// Calls that are using it or wait for it.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.outstanding.load(Ordering::Relaxed)
    }

    /// Requests that could begin at once.
    #[must_use]
    pub fn free_permits(&self) -> usize {
        self.permits.available_permits()
    }

    /// Waits for so many of the permits, at least one and at most all.
    pub async fn permits(&self, count: usize) -> Option<OwnedSemaphorePermit> {
        // The semaphore is never closed, and a pool of more than fits is no pool.
        let count = u32::try_from(count.clamp(1, self.pool_size)).unwrap_or(u32::MAX);
        Arc::clone(&self.permits).acquire_many_owned(count).await.ok()
    }

    /// Held by the one call that finds out who the server is.
    pub async fn handshake(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.handshake.lock().await
    }

    /// The session, unless it ended.
    #[must_use]
    pub fn session(&self) -> Option<Arc<S>> {
        self.state().session.clone()
    }

    /// The session, or the one before the connection was lost.
    #[must_use]
    pub fn last_session(&self) -> Option<Arc<S>> {
        let state = self.state();
        state.session.clone().or_else(|| state.former.clone())
    }

    /// Begins a session.
    pub fn set_session(&self, session: &Arc<S>) {
        let mut state = self.state();
        state.session = Some(Arc::clone(session));
        state.former = Some(Arc::clone(session));
    }

    /// The server may be another one than it was: the next call begins with a handshake.
    pub fn end_session(&self) {
        self.state().session = None;
    }

    /// Refused for its vectors: it must prove itself again.
    pub fn forget(&self) {
        let mut state = self.state();
        state.session = None;
        state.former = None;
    }

    /// The server is who it was, or was found out, up to so many connections.
    pub fn set_verified(&self, connects: usize) {
        self.verified.fetch_max(connects, Ordering::SeqCst);
    }

    /// Whether no connection was made since the server was asked who it is.
    #[must_use]
    pub fn is_verified(&self) -> bool {
        self.http.connects() == self.verified.load(Ordering::SeqCst)
    }

    /// Whether its breaker lets a call through now.
    #[must_use]
    pub fn lets_through(&self) -> bool {
        self.state().breaker.lets_through(now())
    }

    /// Whether it is left out because of failures.
    #[must_use]
    pub fn is_ejected(&self) -> bool {
        self.state().breaker.is_open()
    }

    /// When it may be tried again.
    #[must_use]
    pub fn next_trial(&self) -> Option<Instant> {
        self.state().breaker.next_trial().map(Instant::from_std)
    }

    pub(crate) fn begin(&self) -> Option<Pass> {
        let pass = self.state().breaker.pass(now())?;
        self.outstanding.fetch_add(1, Ordering::Relaxed);
        Some(pass)
    }

    pub(crate) fn failed(&self, pass: Pass) {
        let mut state = self.state();
        state.session = None;
        if state.breaker.failed(now(), pass) {
            add(&self.stats.ejections, 1);
        }
    }

    pub(crate) fn succeeded(&self, pass: Pass) {
        if self.state().breaker.succeeded(pass) {
            add(&self.stats.returns, 1);
        }
    }

    pub(crate) fn end(&self) {
        self.outstanding.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn abandoned(&self, pass: Pass) {
        self.state().breaker.abandoned(pass);
    }
}

/// The time of the runtime, which a test may have stopped, as a breaker takes it.
fn now() -> std::time::Instant {
    Instant::now().into_std()
}
