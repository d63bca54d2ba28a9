//! A circuit breaker: it stops calls to something that is down, and lets one through now and then to find out whether
//! it is back.

use std::time::{Duration, Instant};

/// A circuit breaker: closed while calls succeed, open after several failures in a row, and half-open once its pause
/// is over, when one call finds out whether the other side is back.
///
/// It is a state machine without clock or lock: the caller passes the time, so that tests can run in virtual time.
/// Servers, cache tiers and routes each have one.
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
    /// Consecutive failures.
    failures: u32,
    open: Option<OpenState>,
}

#[derive(Debug)]
struct OpenState {
    /// `None`: beyond the range of the clock.
    until: Option<Instant>,
    pause: Duration,
    /// A trial is in flight.
    trial: bool,
}

/// When a breaker opens, and when it lets a trial through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BreakerConfig {
    /// Consecutive failures that open it.
    pub failures: u32,
    /// How long it stays open at first; each failed trial doubles the pause.
    pub first_pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
}

/// How a breaker let a call through. The caller must hand it back with the outcome of the call (succeeded, failed or
/// abandoned), or a trial never ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// The breaker is closed.
    Closed,
    /// The breaker is half-open, and this call finds out whether the other side is back.
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

    /// Whether it is open or half-open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Whether it is closed and counts no failures.
    pub(crate) fn is_calm(&self) -> bool {
        self.open.is_none() && self.failures == 0
    }

    /// When the next trial may begin, if it is open and its pause ends: one of `Duration::MAX` doesn't.
    #[must_use]
    pub fn next_trial(&self) -> Option<Instant> {
        self.open.as_ref().and_then(|open| open.until)
    }

    /// Lets a call through; `None` if the breaker refuses it.
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

    /// A call succeeded; true if that closes the breaker. Only a trial can: a call from before it opened says nothing
    /// about the present.
    pub fn succeeded(&mut self, pass: Pass) -> bool {
        if self.open.is_some() && pass == Pass::Closed {
            return false;
        }
        self.failures = 0;
        self.open.take().is_some()
    }

    /// A call failed; true if that opens the closed breaker.
    pub fn failed(&mut self, now: Instant, pass: Pass) -> bool {
        self.failures = self.failures.saturating_add(1);
        match (&mut self.open, pass) {
            (Some(open), Pass::Trial) => {
                *open = OpenState::new(now, open.pause.saturating_mul(2).min(self.config.longest_pause));
                false
            }
            // A call from before it opened says nothing new.
            (Some(_), Pass::Closed) => false,
            (None, _) if self.failures >= self.config.failures => {
                self.open = Some(OpenState::new(now, self.config.first_pause));
                true
            }
            (None, _) => false,
        }
    }

    /// A call was abandoned before its end: if it was the trial, another one may begin.
    pub fn abandoned(&mut self, pass: Pass) {
        if let (Some(open), Pass::Trial) = (&mut self.open, pass) {
            open.trial = false;
        }
    }
}

impl OpenState {
    fn new(now: Instant, pause: Duration) -> Self {
        Self { until: now.checked_add(pause), pause, trial: false }
    }

    fn may_try(&self, now: Instant) -> bool {
        !self.trial && self.until.is_some_and(|until| now >= until)
    }
}

impl BreakerConfig {
    /// Sets how many consecutive failures open it.
    #[must_use]
    pub fn with_failures(mut self, failures: u32) -> Self {
        self.failures = failures;
        self
    }

    /// Sets the first and the longest pause. A pause beyond the range of the clock, such as `Duration::MAX`, never ends.
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
    fn it_opens_lets_a_trial_through_and_closes() {
        let second = Duration::from_secs(1);
        let mut breaker =
            Breaker::new(BreakerConfig { failures: 2, first_pause: second, longest_pause: second * 3 });
        let now = Instant::now();
        assert!(!breaker.failed(now, Pass::Closed));
        assert!(breaker.failed(now, Pass::Closed), "the second failure opens it");
        assert!(!breaker.failed(now, Pass::Closed), "a late failure of an old call doesn't count");
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
            // Each failed trial doubles the pause, up to the longest.
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
