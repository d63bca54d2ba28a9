//! A breaker next to a back end: calls of one that keeps failing aren't made for a while.

use std::fmt::{self, Display};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use embed_core::{
    Breaker, BreakerConfig, EmbedRequest, EmbedResponse, Embedder, Error, ErrorKind, Health, ModelInfo, Pass,
    Result, Retry, async_trait,
};

/// What stands before calls of a route's back end: a breaker, and the time that a call may take.
///
/// A route has one of its own around all that it is given. Where there is a cache inside of the route, the guard
/// belongs behind it, or the cache would be shut off with the back end: put a [`Guarded`] there, and give the
/// route the same guard ([`Route::with_guard`](crate::Route::with_guard)). Clones share one state.
#[derive(Debug, Clone)]
pub struct Guard {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    breaker: Mutex<Breaker>,
    timeout: Option<Duration>,
    openings: AtomicU64,
}

/// A back end behind a [`Guard`].
///
/// ```
/// # use embed_core::{BreakerConfig, Embedder};
/// # use embed_router::{Guard, Guarded, Route};
/// # fn routes(ollama: impl Embedder + std::fmt::Display, cached: impl Fn(Guarded<Box<dyn Embedder>>) -> Box<dyn Embedder>) -> Route {
/// let guard = Guard::new(BreakerConfig::default(), None);
/// let guarded = Guarded::new(Box::new(ollama) as Box<dyn Embedder>, guard.clone());
/// let route = Route::shared("ollama", cached(guarded).into()).with_guard(guard);
/// # route }
/// ```
#[derive(Debug)]
pub struct Guarded<E> {
    inner: E,
    guard: Guard,
}

/// A service answers at the deadline with the rows that it has. It gets so much longer to hand them over.
const GRACE: Duration = Duration::from_millis(50);

/// A call that a caller's deadline ended before this says nothing of the back end's health.
const FAIR_CHANCE: Duration = Duration::from_secs(1);

/// The fact by which a refusal is known from the failure of a call that was made.
const REFUSED: (&str, &str) = ("breaker", "open");

impl Guard {
    /// A closed guard. A call that takes longer than the timeout counts as failed; without one only the caller's
    /// deadline ends it.
    #[must_use]
    pub fn new(breaker: BreakerConfig, timeout: Option<Duration>) -> Self {
        let breaker = Mutex::new(Breaker::new(breaker));
        Self { shared: Arc::new(Shared { breaker, timeout, openings: AtomicU64::new(0) }) }
    }

    /// Whether calls are refused, or one of them is finding out whether the back end is well again.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.breaker().is_open()
    }

    /// Times that it opened.
    #[must_use]
    pub fn openings(&self) -> u64 {
        self.shared.openings.load(Ordering::Relaxed)
    }

    /// Makes a call, if the breaker lets it through.
    pub(crate) async fn call(&self, inner: &dyn Embedder, request: EmbedRequest) -> Result<EmbedResponse> {
        let (began, deadline) = (now(), request.deadline());
        let visit = self.visit(began, deadline)?;
        // What no clock can count to is no limit.
        let own = self.shared.timeout.and_then(|timeout| began.checked_add(timeout));
        let late = deadline.and_then(|deadline| deadline.checked_add(GRACE));
        let limit = [own, late].into_iter().flatten().min();
        let answer = match limit {
            None => inner.embed(request).await,
            Some(limit) => {
                let answer = tokio::time::timeout_at(limit.into(), inner.embed(request)).await;
                answer.unwrap_or_else(|_| Err(too_late(own == Some(limit))))
            }
        };
        visit.settle(&answer);
        answer
    }

    fn visit(&self, began: Instant, deadline: Option<Instant>) -> Result<Visit<'_>> {
        let mut breaker = self.breaker();
        if let Some(pass) = breaker.pass(began) {
            return Ok(Visit { guard: self, began, deadline, pass: Some(pass) });
        }
        let after = breaker.next_trial().map(|trial| trial.saturating_duration_since(began));
        let message = "the route failed too often and is left out until it is well again";
        Err(Error::new(ErrorKind::Unavailable, message)
            .with_retry(Retry::Temporary { after })
            .with_context(REFUSED.0, REFUSED.1))
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.shared.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<E: Embedder> Guarded<E> {
    /// Puts a back end behind a guard.
    #[must_use]
    pub fn new(inner: E, guard: Guard) -> Self {
        Self { inner, guard }
    }

    /// The back end.
    #[must_use]
    pub fn inner(&self) -> &E {
        &self.inner
    }

    /// The back end, taken out.
    #[must_use]
    pub fn into_inner(self) -> E {
        self.inner
    }
}

/// Dropping a call's future drops the call. If its deadline is over by then, it counts as failed.
#[async_trait]
impl<E: Embedder> Embedder for Guarded<E> {
    fn model(&self) -> &ModelInfo {
        self.inner.model()
    }

    async fn embed(&self, request: EmbedRequest) -> Result<EmbedResponse> {
        self.guard.call(&self.inner, request).await
    }

    /// The back end's own: whether calls are let through is the route's to say.
    async fn health(&self) -> Health {
        self.inner.health().await
    }
}

impl<E: Display> Display for Guarded<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "guarded({})", self.inner)
    }
}

/// A call under way. One that is dropped before its end tells the breaker that it was given up.
struct Visit<'g> {
    guard: &'g Guard,
    began: Instant,
    deadline: Option<Instant>,
    pass: Option<Pass>,
}

impl Visit<'_> {
    fn settle(mut self, answer: &Result<EmbedResponse>) {
        let fault = match answer {
            Err(error) => Some(error),
            Ok(response) if response.rows().any(|row| row.is_ok()) => None,
            Ok(response) => response.errors().map(|(_, error)| error).find(|error| is_of_route(error)),
        };
        // A service that is busy is well: to leave it out for a second would waste that second.
        let well = fault.is_none_or(|error| {
            !is_of_route(error) || matches!(error.kind(), ErrorKind::Overloaded | ErrorKind::RateLimited)
        });
        if well {
            if let Some(pass) = self.pass.take() {
                self.guard.breaker().succeeded(pass);
            }
        } else if !(self.is_past_deadline() && self.was_hurried()) {
            self.failed();
        }
    }

    fn failed(&mut self) {
        if let Some(pass) = self.pass.take()
            && self.guard.breaker().failed(now(), pass)
        {
            self.guard.shared.openings.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn is_past_deadline(&self) -> bool {
        self.deadline.is_some_and(|deadline| now() >= deadline)
    }

    fn was_hurried(&self) -> bool {
        now().saturating_duration_since(self.began) < FAIR_CHANCE
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        // A cache lets go of a call that nobody waits for any more: that it was late is the back end's fault.
        if self.pass.is_some() && self.is_past_deadline() && !self.was_hurried() {
            self.failed();
        }
        if let Some(pass) = self.pass.take() {
            self.guard.breaker().abandoned(pass);
        }
    }
}

/// Whether an error is the route's fault, so that another route may do better, and not the text's or the caller's.
pub(crate) fn is_of_route(error: &Error) -> bool {
    match error.retry() {
        // An outer retry must not multiply tries that are used up, but another route hasn't tried yet.
        Retry::Temporary { .. } | Retry::Exhausted => true,
        Retry::Permanent => matches!(
            error.kind(),
            ErrorKind::Unavailable | ErrorKind::Unauthorized | ErrorKind::ModelNotFound | ErrorKind::Timeout
        ),
    }
}

/// Whether an answer has such an error, as a whole or in a row.
pub(crate) fn has(answer: &Result<EmbedResponse>, such: fn(&Error) -> bool) -> bool {
    match answer {
        Ok(response) => response.errors().any(|(_, error)| such(error)),
        Err(error) => such(error),
    }
}

/// Whether a call wasn't made because a guard's breaker is open.
pub(crate) fn is_refusal(error: &Error) -> bool {
    error.context().any(|fact| fact == REFUSED)
}

fn too_late(own: bool) -> Error {
    let message = if own {
        "the route gave no answer within its timeout"
    } else {
        "the deadline was over before the route answered"
    };
    Error::new(ErrorKind::Timeout, message).temporary()
}

/// Tokio's clock, so that tests may run in virtual time.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
