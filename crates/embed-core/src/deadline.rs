//! Deadlines of calls.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use crate::{Error, ErrorKind};

/// When a caller stops waiting, if ever.
///
/// It does the arithmetic and races a call against the deadline. The caller brings the timer, since this crate doesn't
/// depend on a runtime.
///
/// ```
/// # use std::time::{Duration, Instant};
/// # use embed_core::Deadline;
/// let now = Instant::now();
/// let deadline = Deadline::at(now + Duration::from_secs(5));
/// assert!(!deadline.is_over(now) && deadline.is_over(now + Duration::from_secs(5)));
/// assert_eq!(deadline.or_earlier(Deadline::NONE), deadline);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Deadline(Option<Instant>);

impl Deadline {
    /// The caller waits for as long as it takes.
    pub const NONE: Self = Self(None);

    /// The caller waits until then.
    #[must_use]
    pub const fn at(instant: Instant) -> Self {
        Self(Some(instant))
    }

    /// The moment, if there is one.
    #[must_use]
    pub const fn instant(self) -> Option<Instant> {
        self.0
    }

    /// Whether it has passed.
    #[must_use]
    pub fn is_over(self, now: Instant) -> bool {
        self.0.is_some_and(|deadline| deadline <= now)
    }

    /// The earlier of the two.
    #[must_use]
    pub fn or_earlier(self, other: Self) -> Self {
        Self([self.0, other.0].into_iter().flatten().min())
    }

    /// Moves it later by `grace`. A moment beyond the clock's range is no deadline.
    #[must_use]
    pub fn later_by(self, grace: Duration) -> Self {
        Self(self.0.and_then(|deadline| deadline.checked_add(grace)))
    }

    /// The output of a call; `None` if the deadline passes first, which drops the call. A call that is ready at once
    /// needs no timer, and one that becomes ready together with its deadline is in time.
    ///
    /// `sleep_until` is the runtime's timer, such as `|at| tokio::time::sleep_until(at.into())`.
    pub async fn limit<F, S>(self, sleep_until: impl FnOnce(Instant) -> S, call: F) -> Option<F::Output>
    where
        F: Future,
        S: Future,
    {
        let mut call = pin!(call);
        let Some(deadline) = self.0 else { return Some(call.await) };
        // Made when it is first polled.
        let mut sleep = pin!(async { sleep_until(deadline).await });
        poll_fn(|context| match call.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => sleep.as_mut().poll(context).map(|_| None),
        })
        .await
    }

    /// The error for a missed deadline: of kind [`Timeout`](ErrorKind::Timeout), and temporary.
    #[must_use]
    pub fn missed(message: &'static str) -> Error {
        Error::new(ErrorKind::Timeout, message).temporary()
    }
}

impl From<Instant> for Deadline {
    fn from(instant: Instant) -> Self {
        Self::at(instant)
    }
}

impl From<Option<Instant>> for Deadline {
    fn from(instant: Option<Instant>) -> Self {
        Self(instant)
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use futures::executor::block_on;

    use super::*;

    #[test]
    fn a_call_ends_with_its_deadline() {
        let deadline = Deadline::at(Instant::now());
        assert_eq!(block_on(deadline.limit(ready, ready(7))), Some(7), "a ready call is in time");
        assert_eq!(block_on(deadline.limit(ready, pending::<()>())), None);
        assert_eq!(block_on(Deadline::NONE.limit(|_| pending::<()>(), ready(7))), Some(7));
    }

    #[test]
    fn a_moment_beyond_the_clock_is_no_deadline() {
        let now = Instant::now();
        assert_eq!(Deadline::at(now).later_by(Duration::MAX), Deadline::NONE);
        assert_eq!(Deadline::NONE.or_earlier(Deadline::at(now)), Deadline::at(now));
        assert!(!Deadline::NONE.is_over(now));
    }
}
