//! A circuit breaker and timeout around a back end.

use std::fmt::{self, Display};
use std::sync::Arc;
use std::time::{Duration, Instant};

use embed_core::{
    BreakerConfig, BreakerGuard, Deadline, EmbedRequest, EmbedResponse, Embedder, Error, ErrorKind, Health,
    Layer, ModelInfo, Result, Retry, Role, SharedBreaker, Truncation, async_trait, place,
};
use futures::future::BoxFuture;
use tokio::time::sleep_until;

/// A breaker and a timeout for the calls of a route's back end.
///
/// Each route has one next to its back end: behind its cache, which would otherwise be blocked together with the back
/// end. Routes to one server may share one ([`RouteBuilder::guard`](crate::RouteBuilder::guard)). Clones share their
/// state.
#[derive(Debug, Clone)]
pub struct Guard {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    breaker: SharedBreaker,
    timeout: Option<Duration>,
}

/// A back end behind a [`Guard`].
///
/// A route with a cache creates one: see [`RouteBuilder::cache`](crate::RouteBuilder::cache).
#[derive(Debug)]
pub struct Guarded<E> {
    /// Shared with the trials, which are separate tasks.
    inner: Arc<E>,
    guard: Guard,
}

/// At the deadline a service returns the rows that it has. This is the extra time to do so.
const GRACE: Duration = Duration::from_millis(50);

/// If the caller's deadline ends a call before this, it says nothing about the back end's health.
const FAIR_CHANCE: Duration = Duration::from_secs(1);

/// The text of a trial.
const TRIAL: &str = "Is anybody there?";

/// A trial fails if it isn't answered in this time.
const TRIAL_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a health check waits for a trial.
const TRIAL_PATIENCE: Duration = Duration::from_secs(1);

/// The longest pause between two trials: a recovered back end is found within this.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The default breaker of a route.
pub(crate) fn default_breaker() -> BreakerConfig {
    BreakerConfig::default().with_pauses(Duration::from_secs(1), LONGEST_PAUSE)
}

/// The context that distinguishes a refusal from a failed call.
const REFUSED: (&str, &str) = ("breaker", "open");

impl Guard {
    /// A closed guard. A call that takes longer than the timeout counts as failed; without a timeout only the caller's
    /// deadline ends a call.
    #[must_use]
    pub fn new(breaker: BreakerConfig, timeout: Option<Duration>) -> Self {
        let breaker = SharedBreaker::new(breaker);
        Self { shared: Arc::new(Shared { breaker, timeout }) }
    }

    /// Whether the breaker is open or half-open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.shared.breaker.is_open()
    }

    /// How often it opened.
    #[must_use]
    pub fn openings(&self) -> u64 {
        self.shared.breaker.openings()
    }

    /// Begins a call, if the breaker lets it through.
    pub(crate) fn call<'a>(
        &'a self,
        inner: &'a dyn Embedder,
        request: EmbedRequest,
    ) -> Result<GuardedCall<'a>> {
        let Shared { breaker, timeout } = &*self.shared;
        let Some(pass) = breaker.enter(now) else {
            let after = breaker.next_trial().map(|trial| trial.saturating_duration_since(now()));
            return Err(refusal(after));
        };
        let deadline = request.deadline();
        // Where nothing ends the call, nobody wants to know when it began.
        let began = (timeout.is_some() || deadline != Deadline::NONE).then(now);
        let timeout = timeout.map_or(Deadline::NONE, |timeout| Deadline::from(began).later_by(timeout));
        Ok(GuardedCall { began, deadline, timeout, pass: Some(pass), call: inner.embed(request) })
    }

    /// The health of a back end behind this guard. While calls are refused, it also makes the trial, with one text each
    /// time that a pause is over, so that the guard closes without any caller.
    ///
    /// # Cancellation
    ///
    /// A trial is a separate task and goes on.
    pub(crate) async fn health<E: Embedder>(&self, inner: &Arc<E>) -> Health {
        let health = inner.health().await;
        // A back end that reports itself unavailable needs no trial.
        if !health.is_available() || !self.is_open() {
            return health;
        }
        if self.lets_through() {
            let (guard, inner) = (self.clone(), Arc::clone(inner));
            let trial = tokio::spawn(async move {
                let request = EmbedRequest::new([TRIAL], Role::Query)
                    .with_truncation(Truncation::End)
                    .with_deadline(now() + TRIAL_TIMEOUT);
                // The breaker has recorded the outcome; the response isn't needed.
                if let Ok(mut call) = guard.call(&*inner, request) {
                    let _ = call.answer().await;
                }
            });
            let _ = tokio::time::timeout(TRIAL_PATIENCE, trial).await;
        }
        if self.is_open() { Health::unavailable(refusal(None)) } else { health }
    }

    /// Whether a call would be made now.
    pub(crate) fn lets_through(&self) -> bool {
        self.shared.breaker.lets_through(now())
    }
}

/// A breaker that opens after five consecutive failures and lets a trial through after pauses of one to five seconds,
/// and no timeout.
impl Default for Guard {
    fn default() -> Self {
        Self::new(default_breaker(), None)
    }
}

impl<E: Embedder> Guarded<E> {
    /// Puts a back end behind a guard.
    #[must_use]
    pub fn new(inner: E, guard: Guard) -> Self {
        Self { inner: Arc::new(inner), guard }
    }

    /// The back end.
    #[must_use]
    pub fn inner(&self) -> &E {
        &self.inner
    }
}

/// Dropping a call's future drops the call. If its deadline has passed by then, it counts as failed.
#[async_trait]
impl<E: Embedder> Embedder for Guarded<E> {
    fn model(&self) -> &ModelInfo {
        self.inner.model()
    }

    async fn embed(&self, request: EmbedRequest) -> Result<EmbedResponse> {
        self.guard.call(&*self.inner, request)?.answer().await
    }

    /// The back end's health while the breaker is closed. Otherwise unavailable, and a trial with one text is made in a
    /// separate task each time that a pause is over, until one succeeds.
    async fn health(&self) -> Health {
        self.guard.health(&self.inner).await
    }
}

impl<E: Embedder> Layer<E> for Guard {
    type Embedder = Guarded<E>;
    type Place = place::Guard;

    fn layer(self, inner: E) -> Guarded<E> {
        Guarded::new(inner, self)
    }
}

impl<E: Display> Display for Guarded<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "guarded({})", self.inner)
    }
}

/// A call in flight, to be answered once. If it is dropped, it counts as abandoned, or as failed if its deadline has passed.
pub(crate) struct GuardedCall<'g> {
    began: Option<Instant>,
    deadline: Deadline,
    timeout: Deadline,
    pass: Option<BreakerGuard<'g>>,
    call: BoxFuture<'g, Result<EmbedResponse>>,
}

impl GuardedCall<'_> {
    pub(crate) async fn answer(&mut self) -> Result<EmbedResponse> {
        let limit = self.timeout.or_earlier(self.deadline.later_by(GRACE));
        let answer = limit.limit(|at| sleep_until(at.into()), &mut self.call).await;
        let answer = answer.unwrap_or_else(|| Err(too_late(limit == self.timeout)));
        self.settle(&answer);
        answer
    }

    fn settle(&mut self, answer: &Result<EmbedResponse>) {
        let fault = match answer {
            Err(error) => Some(error),
            Ok(response) if response.failed() < response.len() => None,
            Ok(response) => response.errors().map(|(_, error)| error).find(|error| is_of_route(error)),
        };
        // A busy service is healthy: opening the breaker for a second would waste that second.
        let healthy = fault.is_none_or(|error| {
            !is_of_route(error) || matches!(error.kind(), ErrorKind::Overloaded | ErrorKind::RateLimited)
        });
        if healthy {
            self.pass.take().map(BreakerGuard::succeeded);
        } else if !(self.is_past_deadline() && self.was_hurried()) {
            self.failed();
        }
    }

    fn failed(&mut self) {
        self.pass.take().map(|pass| pass.failed(now()));
    }

    fn is_past_deadline(&self) -> bool {
        self.deadline.is_over(now())
    }

    fn was_hurried(&self) -> bool {
        self.began.is_some_and(|began| now().saturating_duration_since(began) < FAIR_CHANCE)
    }
}

impl Drop for GuardedCall<'_> {
    fn drop(&mut self) {
        // A cache drops a call when no caller waits any more. If it was late, that is the back end's fault.
        if self.pass.is_some() && self.is_past_deadline() && !self.was_hurried() {
            self.failed();
        }
    }
}

/// Whether an error is the route's fault, and not the text's or the caller's, so that another route may succeed.
pub(crate) fn is_of_route(error: &Error) -> bool {
    match error.retry() {
        // The route's retries are exhausted, but another route hasn't tried yet.
        Retry::Temporary { .. } | Retry::Exhausted => true,
        Retry::Permanent => matches!(
            error.kind(),
            ErrorKind::Unavailable | ErrorKind::Unauthorized | ErrorKind::ModelNotFound | ErrorKind::Timeout
        ),
    }
}

/// Whether a response has such an error, as a whole or in a row.
pub(crate) fn has(answer: &Result<EmbedResponse>, such: fn(&Error) -> bool) -> bool {
    match answer {
        Ok(response) => response.errors().any(|(_, error)| such(error)),
        Err(error) => such(error),
    }
}

/// Whether a guard's open breaker refused the call.
pub(crate) fn is_refusal(error: &Error) -> bool {
    error.context().any(|fact| fact == REFUSED)
}

fn refusal(after: Option<Duration>) -> Error {
    let message =
        "the route failed too often and isn't called until it answers again; it is retried every few seconds";
    Error::new(ErrorKind::Unavailable, message)
        .with_retry(Retry::Temporary { after })
        .with_context(REFUSED.0, REFUSED.1)
}

fn too_late(by_timeout: bool) -> Error {
    Deadline::missed(if by_timeout {
        "the route didn't answer within its timeout"
    } else {
        "the deadline passed before the route answered"
    })
}

/// Tokio's clock, so that tests can run in virtual time.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
