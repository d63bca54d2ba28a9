//! How the calls of one route went, and whether that passes a limit.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::StopLimits;
use super::status::CallStatus;

/// Counts since the start, and the last calls one by one: limits are judged on what is, not on what was long ago.
#[derive(Debug)]
pub(crate) struct Meter {
    limits: StopLimits,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    calls: u64,
    failed: u64,
    last: VecDeque<Call>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    /// For one text.
    pub(crate) time: Duration,
    pub(crate) failed: bool,
}

impl Meter {
    pub(crate) fn new(limits: StopLimits) -> Self {
        Self { limits, seen: Mutex::default() }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a call; why the rollout must stop, if it must.
    pub(crate) fn add(&self, call: Call) -> Option<String> {
        let StopLimits { error_rate, p95, window, min_calls } = self.limits;
        let mut seen = self.seen();
        seen.calls += 1;
        seen.failed += u64::from(call.failed);
        if seen.last.len() == window {
            seen.last.pop_front();
        }
        seen.last.push_back(call);
        let judged = seen.last.len();
        if judged < min_calls {
            return None;
        }
        let rate = seen.error_rate();
        if rate > error_rate {
            let (is, most) = (rate * 100.0, error_rate * 100.0);
            return Some(format!(
                "{is:.1} % of the last {judged} calls failed, and the limit is {most:.1} %"
            ));
        }
        let is = seen.percentile(0.95);
        (is > p95).then(|| {
            format!("the 95th percentile of the last {judged} calls is {is:.1?} for a text, and the limit is {p95:.1?}")
        })
    }

    pub(crate) fn forget(&self) {
        *self.seen() = Seen::default();
    }

    pub(crate) fn status(&self) -> CallStatus {
        let seen = self.seen();
        let ms = |part| seen.percentile(part).as_secs_f64() * 1e3;
        CallStatus {
            calls: seen.calls,
            failed: seen.failed,
            error_rate: seen.error_rate(),
            p50_ms: ms(0.5),
            p95_ms: ms(0.95),
            p99_ms: ms(0.99),
        }
    }
}

impl Seen {
    fn error_rate(&self) -> f64 {
        let failed = self.last.iter().filter(|call| call.failed).count();
        failed as f64 / self.last.len().max(1) as f64
    }

    /// The smallest time that so great a part of the last calls didn't pass.
    fn percentile(&self, part: f64) -> Duration {
        let mut times: Vec<_> = self.last.iter().map(|call| call.time).collect();
        let Some(most) = times.len().checked_sub(1) else {
            return Duration::ZERO;
        };
        let rank = ((part * times.len() as f64).ceil() as usize).saturating_sub(1).min(most);
        *times.select_nth_unstable(rank).1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(ms: u64, failed: bool) -> Call {
        Call { time: Duration::from_millis(ms), failed }
    }

    #[test]
    fn percentiles_are_those_of_the_last_calls() {
        let meter =
            Meter::new(StopLimits::default().with_calls(100, 100).with_p95(Duration::from_millis(95)));
        for ms in (900..950).chain(1..100) {
            meter.add(call(ms, false));
        }
        assert_eq!(meter.add(call(100, false)), None, "the 95th of 1 to 100 is 95, which is the limit");
        let status = meter.status();
        assert_eq!((status.calls, status.failed), (150, 0));
        assert_eq!((status.p50_ms, status.p95_ms, status.p99_ms), (50.0, 95.0, 99.0));
        assert!(meter.add(call(101, false)).unwrap().contains("96.0ms"));
    }

    #[test]
    fn the_error_rate_is_judged_once_there_are_enough_calls() {
        let meter = Meter::new(StopLimits::default().with_calls(20, 10).with_error_rate(0.1));
        for _ in 0..9 {
            assert_eq!(meter.add(call(1, true)), None);
        }
        assert!(meter.add(call(1, true)).unwrap().starts_with("100.0 % of the last 10 calls failed"));
        for _ in 0..18 {
            meter.add(call(1, false));
        }
        assert_eq!(meter.add(call(1, false)), None, "1 of the last 20 failed");
    }
}
