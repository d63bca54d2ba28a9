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
/// assert!(breaker.succeeded(Pass::Trial));
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
    /// `None`: so far away that no clock will show it.
    until: Option<Instant>,
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

/// How a breaker lets a call through. Whoever got one hands it back with how the call went, or that it was given up,
/// or the trial never ends.
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
        self.open.as_ref().is_none_or(|open| open.may_try(now))
    }

    /// Whether it is open, or a trial is under way.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// When the next trial may begin, if it is open and its pause ends at all: one of `Duration::MAX` doesn't.
    #[must_use]
    pub fn next_trial(&self) -> Option<Instant> {
        self.open.as_ref().and_then(|open| open.until)
    }

    /// Lets a call through, or not.
    pub fn pass(&mut self, now: Instant) -> Option<Pass> {
        match &mut self.open {
            None => Some(Pass::Closed),
            Some(open) if open.may_try(now) => {
                open.trial = true;
                Some(Pass::Trial)
            }
            Some(_) => None,
        }
    }

    /// A call succeeded; true if that closes the breaker. Only the trial can: a call from before it opened says
    /// nothing of how things are now.
    pub fn succeeded(&mut self, pass: Pass) -> bool {
        if self.open.is_some() && pass == Pass::Closed {
            return false;
        }
        self.failures = 0;
        self.open.take().is_some()
    }

    /// A call failed; true if that opens the breaker, which was closed.
    pub fn failed(&mut self, now: Instant, pass: Pass) -> bool {
        self.failures = self.failures.saturating_add(1);
        match (&mut self.open, pass) {
            (Some(open), Pass::Trial) => {
                *open = Open::new(now, open.pause.saturating_mul(2).min(self.config.longest_pause));
                false
            }
            // A call from before it opened says nothing new.
            (Some(_), Pass::Closed) => false,
            (None, _) if self.failures >= self.config.failures => {
                self.open = Some(Open::new(now, self.config.first_pause));
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

impl Open {
    fn new(now: Instant, pause: Duration) -> Self {
        Self { until: now.checked_add(pause), pause, trial: false }
    }

    fn may_try(&self, now: Instant) -> bool {
        !self.trial && self.until.is_some_and(|until| now >= until)
    }
}

impl BreakerConfig {
    /// Sets how many failures in a row open it.
    #[must_use]
    pub fn with_failures(mut self, failures: u32) -> Self {
        self.failures = failures;
        self
    }

    /// Sets the first and the longest pause. A pause that no clock can count to, such as `Duration::MAX`, never ends.
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
        assert!(breaker.succeeded(Pass::Trial));
        assert_eq!(breaker.pass(now), Some(Pass::Closed));
    }

    #[test]
    fn a_success_from_before_it_opened_does_not_close_it() {
        let mut breaker = Breaker::new(BreakerConfig::default().with_failures(1));
        let now = Instant::now();
        let [slow, slower, quick] = [(); 3].map(|()| breaker.pass(now).unwrap());
        assert!(breaker.failed(now, quick));
        assert!(!breaker.succeeded(slow));
        assert!(breaker.is_open() && breaker.pass(now).is_none());
        let trial = breaker.pass(now + Duration::from_secs(1)).unwrap();
        assert!(!breaker.succeeded(slower), "nor does it while a trial is under way");
        assert!(breaker.is_open());
        assert!(!breaker.failed(now, trial));
        let next = breaker.next_trial().unwrap();
        assert_eq!(next, now + Duration::from_secs(2), "the pause goes on doubling");
        let trial = breaker.pass(next).unwrap();
        assert!(breaker.succeeded(trial) && !breaker.is_open());
    }

    #[test]
    fn the_longest_pauses_never_end_and_never_panic() {
        let now = Instant::now();
        for (first, longest) in [
            (Duration::MAX, Duration::MAX),
            (Duration::from_secs(1), Duration::MAX),
            (Duration::MAX / 2 + Duration::from_secs(1), Duration::MAX),
        ] {
            let config = BreakerConfig::default().with_failures(1).with_pauses(first, longest);
            let mut breaker = Breaker::new(config);
            assert!(breaker.failed(now, Pass::Closed));
            // Each failed trial doubles the pause, until it is as long as can be.
            for _ in 0..100 {
                let Some(next) = breaker.next_trial() else { break };
                let trial = breaker.pass(next).unwrap();
                assert!(!breaker.failed(next, trial));
            }
            assert_eq!(breaker.next_trial(), None);
            assert_eq!(breaker.pass(now + Duration::from_secs(1 << 32)), None);
            assert!(breaker.is_open() && !breaker.lets_through(now));
        }
    }

    #[test]
    fn a_success_forgets_failures() {
        let mut breaker = Breaker::new(BreakerConfig { failures: 2, ..BreakerConfig::default() });
        for _ in 0..5 {
            assert!(!breaker.failed(Instant::now(), Pass::Closed));
            assert!(!breaker.succeeded(Pass::Closed));
        }
    }
}
