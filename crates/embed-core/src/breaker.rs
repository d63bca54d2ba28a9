//! Whether something that may be down is asked at all: closed, open after failures, half-open when one call may
//! try it.

use std::time::{Duration, Instant};

/// A circuit breaker: closed while things go well, open after some failures in a row, and half-open when its
/// pause is over, so that one call finds out whether the other side is back.
///
/// It is a state machine without a clock or a lock of its own: the caller says what time it is, so that tests
/// may run in virtual time. Servers, cache tiers and routes all stand behind one.
///
/// ```
/// use std::time::{Duration, Instant};
/// use embed_core::{Breaker, BreakerConfig, Pass};
///
/// let mut breaker = Breaker::new(BreakerConfig::default().with_failures(1));
/// let now = Instant::now();
/// let pass = breaker.pass(now).unwrap();
/// assert!(breaker.failed(now, pass), "the first failure opens it");
/// assert_eq!(breaker.pass(now), None);
/// assert_eq!(breaker.pass(now + Duration::from_secs(1)), Some(Pass::Trial));
/// assert!(breaker.succeeded());
/// ```
#[derive(Debug)]
pub struct Breaker {
    config: BreakerConfig,
    /// In a row.
    failures: u32,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    until: Instant,
    pause: Duration,
    /// A call is trying the server.
    trial: bool,
}

/// When something counts as gone, and when it is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BreakerConfig {
    /// Failures in a row that open it.
    pub failures: u32,
    /// How long it stays open the first time; each time after it is twice as long.
    pub first_pause: Duration,
    /// The longest that it stays open.
    pub longest_pause: Duration,
}

/// How a breaker lets a call through. Whoever got one says how the call went, or that it was given up, or the
/// trial never ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// As one of many.
    Closed,
    /// As the one that finds out whether the server is back.
    Trial,
}

impl Breaker {
    /// A closed breaker.
    #[must_use]
    pub fn new(config: BreakerConfig) -> Self {
        Self { config, failures: 0, open: None }
    }

    /// Whether a call would be let through now.
    #[must_use]
    pub fn lets_through(&self, now: Instant) -> bool {
        self.open.as_ref().is_none_or(|open| !open.trial && now >= open.until)
    }

    /// Whether it is open, or a trial is under way.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// When the next trial may begin, if it is open.
    #[must_use]
    pub fn next_trial(&self) -> Option<Instant> {
        self.open.as_ref().map(|open| open.until)
    }

    /// Lets a call through, or not.
    pub fn pass(&mut self, now: Instant) -> Option<Pass> {
        match &mut self.open {
            None => Some(Pass::Closed),
            Some(open) if !open.trial && now >= open.until => {
                open.trial = true;
                Some(Pass::Trial)
            }
            Some(_) => None,
        }
    }

    /// A call went well; true if that closes the breaker.
    pub fn succeeded(&mut self) -> bool {
        self.failures = 0;
        self.open.take().is_some()
    }

    /// A call failed; true if that opens the breaker, which was closed.
    pub fn failed(&mut self, now: Instant, pass: Pass) -> bool {
        self.failures = self.failures.saturating_add(1);
        match (&mut self.open, pass) {
            (Some(open), Pass::Trial) => {
                open.pause = (open.pause * 2).min(self.config.longest_pause);
                open.until = now + open.pause;
                open.trial = false;
                false
            }
            // A call from before it opened says nothing new.
            (Some(_), Pass::Closed) => false,
            (None, _) if self.failures >= self.config.failures => {
                self.open = Some(Open {
                    until: now + self.config.first_pause,
                    pause: self.config.first_pause,
                    trial: false,
                });
                true
            }
            (None, _) => false,
        }
    }

    /// A call was given up before its end: if it was the trial, another one may try.
    pub fn abandoned(&mut self, pass: Pass) {
        if let (Some(open), Pass::Trial) = (&mut self.open, pass) {
            open.trial = false;
        }
    }
}

impl BreakerConfig {
    /// Sets how many failures in a row open it.
    #[must_use]
    pub fn with_failures(mut self, failures: u32) -> Self {
        self.failures = failures;
        self
    }

    /// Sets the first and the longest pause.
    #[must_use]
    pub fn with_pauses(mut self, first: Duration, longest: Duration) -> Self {
        self.first_pause = first;
        self.longest_pause = longest;
        self
    }
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self { failures: 5, first_pause: Duration::from_secs(1), longest_pause: Duration::from_secs(30) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_lets_one_try_and_closes() {
        let second = Duration::from_secs(1);
        let mut breaker =
            Breaker::new(BreakerConfig { failures: 2, first_pause: second, longest_pause: second * 3 });
        let now = Instant::now();
        assert!(!breaker.failed(now, Pass::Closed));
        assert!(breaker.failed(now, Pass::Closed), "the second failure opens it");
        assert!(!breaker.failed(now, Pass::Closed), "a late failure of an old call counts no more");
        assert_eq!(breaker.pass(now), None);
        assert_eq!(breaker.pass(now + second), Some(Pass::Trial));
        assert_eq!(breaker.pass(now + second), None, "one trial at a time");
        breaker.abandoned(Pass::Trial);
        assert_eq!(breaker.pass(now + second), Some(Pass::Trial));
        assert!(!breaker.failed(now + second, Pass::Trial));
        assert_eq!(breaker.pass(now + second * 2), None, "the pause has doubled");
        assert_eq!(breaker.pass(now + second * 3), Some(Pass::Trial));
        assert!(breaker.succeeded());
        assert_eq!(breaker.pass(now), Some(Pass::Closed));
    }

    #[test]
    fn a_success_forgets_failures() {
        let mut breaker = Breaker::new(BreakerConfig { failures: 2, ..BreakerConfig::default() });
        for _ in 0..5 {
            assert!(!breaker.failed(Instant::now(), Pass::Closed));
            assert!(!breaker.succeeded());
        }
    }
}
