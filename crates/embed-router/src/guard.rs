//! A breaker next to a back end: calls of one that keeps failing aren't made for a while.

use std::fmt::{self, Display};
use std::sync::Arc;
use std::time::{Duration, Instant};

use embed_core::{
    BreakerConfig, BreakerGuard, Deadline, EmbedRequest, EmbedResponse, Embedder, Error, ErrorKind, Health,
    Layer, ModelInfo, Result, Retry, Role, SharedBreaker, Truncation, async_trait, place,
};
use tokio::time::sleep_until;

/// What stands before calls of a route's back end: a breaker, and the time that a call may take.
///
/// A route has one of its own next to its back end, behind the cache if there is one, or the cache would be shut off with
/// the back end. Routes to one server may share one ([`RouteBuilder::guard`](crate::RouteBuilder::guard)). Clones share
/// one state.
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
/// A route makes one where it has a cache: see [`RouteBuilder::cache`](crate::RouteBuilder::cache).
#[derive(Debug)]
pub struct Guarded<E> {
    /// Shared with the trials, which are tasks of their own.
    inner: Arc<E>,
    guard: Guard,
}

/// A service answers at the deadline with the rows that it has. It gets so much longer to hand them over.
const GRACE: Duration = Duration::from_millis(50);

/// A call that a caller's deadline ended before this says nothing of the back end's health.
const FAIR_CHANCE: Duration = Duration::from_secs(1);

/// The text of a trial.
const TRIAL: &str = "Is anybody there?";

/// A trial that isn't answered by then has failed.
const TRIAL_TIMEOUT: Duration = Duration::from_secs(30);

/// How long who asks for the health waits for a trial.
const TRIAL_PATIENCE: Duration = Duration::from_secs(1);

/// The longest pause between two trials: a back end that is back is found within this.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The breaker of a route that nobody has set.
pub(crate) fn default_breaker() -> BreakerConfig {
    BreakerConfig::default().with_pauses(Duration::from_secs(1), LONGEST_PAUSE)
}

/// The fact by which a refusal is known from the failure of a call that was made.
const REFUSED: (&str, &str) = ("breaker", "open");

impl Guard {
    /// A closed guard. A call that takes longer than the timeout counts as failed; without one only the caller's
    /// deadline ends it.
    #[must_use]
    pub fn new(breaker: BreakerConfig, timeout: Option<Duration>) -> Self {
        let breaker = SharedBreaker::new(breaker);
        Self { shared: Arc::new(Shared { breaker, timeout }) }
    }

    /// Whether calls are refused, or one of them is finding out whether the back end answers again.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.shared.breaker.is_open()
    }

    /// Times that it opened.
    #[must_use]
    pub fn openings(&self) -> u64 {
        self.shared.breaker.openings()
    }

    /// Makes a call, if the breaker lets it through.
    pub(crate) async fn call(&self, inner: &dyn Embedder, request: EmbedRequest) -> Result<EmbedResponse> {
        let (began, deadline) = (now(), request.deadline());
        let attempt = self.attempt(began, deadline)?;
        let timeout =
            self.shared.timeout.map_or(Deadline::NONE, |timeout| Deadline::at(began).later_by(timeout));
        let limit = timeout.or_earlier(deadline.later_by(GRACE));
        let answer = limit.limit(|at| sleep_until(at.into()), inner.embed(request)).await;
        let answer = answer.unwrap_or_else(|| Err(too_late(limit == timeout)));
        attempt.settle(&answer);
        answer
    }

    fn attempt(&self, began: Instant, deadline: Deadline) -> Result<GuardedCall<'_>> {
        let breaker = &self.shared.breaker;
        if let Some(pass) = breaker.enter(began) {
            return Ok(GuardedCall { began, deadline, pass: Some(pass) });
        }
        let after = breaker.next_trial().map(|trial| trial.saturating_duration_since(began));
        Err(refusal(after))
    }

    /// How a back end behind this guard is. While calls are refused, this is what finds out whether it answers again:
    /// each time that a pause is over, by one text, so that the guard closes without any caller.
    ///
    /// # Cancellation
    ///
    /// A trial is a task of its own and goes on.
    pub(crate) async fn health<E: Embedder>(&self, inner: &Arc<E>) -> Health {
        let health = inner.health().await;
        // One that says itself that it can't answer needs no trial.
        if !health.is_available() || !self.is_open() {
            return health;
        }
        if self.lets_through() {
            let (guard, inner) = (self.clone(), Arc::clone(inner));
            let trial = tokio::spawn(async move {
                let request = EmbedRequest::new([TRIAL], Role::Query)
                    .with_truncation(Truncation::End)
                    .with_deadline(now() + TRIAL_TIMEOUT);
                // How it went is the breaker's to know, and nobody's answer.
                let _ = guard.call(&*inner, request).await;
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

/// A breaker that opens after five failures in a row and lets a trial through after pauses of one to five seconds; no
/// timeout.
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

/// Dropping a call's future drops the call. If its deadline is over by then, it counts as failed.
#[async_trait]
impl<E: Embedder> Embedder for Guarded<E> {
    fn model(&self) -> &ModelInfo {
        self.inner.model()
    }

    async fn embed(&self, request: EmbedRequest) -> Result<EmbedResponse> {
        self.guard.call(&*self.inner, request).await
    }

    /// The back end's own while calls are let through. While they aren't, the back end is tried by one text each time
    /// that a pause is over, as a task of its own, and is unavailable until that succeeded.
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

/// A call under way. One that is dropped before its end was given up, or failed if its deadline is over.
struct GuardedCall<'g> {
    began: Instant,
    deadline: Deadline,
    pass: Option<BreakerGuard<'g>>,
}

impl GuardedCall<'_> {
    fn settle(mut self, answer: &Result<EmbedResponse>) {
        let fault = match answer {
            Err(error) => Some(error),
            Ok(response) if response.rows().any(|row| row.is_ok()) => None,
            Ok(response) => response.errors().map(|(_, error)| error).find(|error| is_of_route(error)),
        };
        // A service that is busy is healthy: to leave it out for a second would waste that second.
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
        now().saturating_duration_since(self.began) < FAIR_CHANCE
    }
}

impl Drop for GuardedCall<'_> {
    fn drop(&mut self) {
        // A cache lets go of a call that nobody waits for any more: that it was late is the back end's fault.
        if self.pass.is_some() && self.is_past_deadline() && !self.was_hurried() {
            self.failed();
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

fn refusal(after: Option<Duration>) -> Error {
    let message =
        "the route failed too often and is left out until it answers again; it is tried every few seconds";
    Error::new(ErrorKind::Unavailable, message)
        .with_retry(Retry::Temporary { after })
        .with_context(REFUSED.0, REFUSED.1)
}

fn too_late(by_timeout: bool) -> Error {
    Deadline::missed(if by_timeout {
        "the route gave no answer within its timeout"
    } else {
        "the deadline was over before the route answered"
    })
}

/// Tokio's clock, so that tests may run in virtual time.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
