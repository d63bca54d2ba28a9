//! Whether a server is asked at all: closed, open after failures, half-open when one call may try it.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::BreakerConfig;

#[derive(Debug)]
pub(crate) struct Breaker {
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

/// How a breaker lets a call through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pass {
    /// As one of many.
    Closed,
    /// As the one that finds out whether the server is back.
    Trial,
}

impl Breaker {
    pub(crate) fn new(config: BreakerConfig) -> Self {
        Self { config, failures: 0, open: None }
    }

    /// Whether a call would be let through now.
    pub(crate) fn lets_through(&self, now: Instant) -> bool {
        self.open.as_ref().is_none_or(|open| !open.trial && now >= open.until)
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// When the next trial may begin, if it is open.
    pub(crate) fn next_trial(&self) -> Option<Instant> {
        self.open.as_ref().map(|open| open.until)
    }

    pub(crate) fn pass(&mut self, now: Instant) -> Option<Pass> {
        match &mut self.open {
            None => Some(Pass::Closed),
            Some(open) if !open.trial && now >= open.until => {
                open.trial = true;
                Some(Pass::Trial)
            }
            Some(_) => None,
        }
    }

    /// The server answered; true if that closes the breaker.
    pub(crate) fn succeeded(&mut self) -> bool {
        self.failures = 0;
        self.open.take().is_some()
    }

    /// The server failed; true if that opens the breaker, which was closed.
    pub(crate) fn failed(&mut self, now: Instant, pass: Pass) -> bool {
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

    /// The call that tried the server was dropped: another one may.
    pub(crate) fn abandoned(&mut self, pass: Pass) {
        if let (Some(open), Pass::Trial) = (&mut self.open, pass) {
            open.trial = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_opens_lets_one_try_and_closes() {
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
