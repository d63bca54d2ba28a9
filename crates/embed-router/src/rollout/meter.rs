//! Measures the calls of one route, and checks them against the limits.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::StopLimits;
use super::status::CallStatus;

/// Counts since the start and the individual recent calls, because limits apply to recent calls only.
#[derive(Debug)]
pub(crate) struct CallMeter {
    limits: StopLimits,
    seen: Mutex<CallWindow>,
}

#[derive(Debug, Default)]
struct CallWindow {
    calls: u64,
    failed: u64,
    last: VecDeque<JudgedCall>,
    /// How many of the last calls failed.
    last_failed: usize,
    /// How many of the last calls took longer than the limit.
    last_slow: usize,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct JudgedCall {
    /// The time per text.
    pub(crate) time: Duration,
    pub(crate) failed: bool,
}

impl CallMeter {
    pub(crate) fn new(limits: StopLimits) -> Self {
        Self { limits, seen: Mutex::default() }
    }

    fn seen(&self) -> MutexGuard<'_, CallWindow> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a call, in constant time whatever the window, because a caller waits for it.
    pub(crate) fn add(&self, call: JudgedCall) {
        let StopLimits { p95, window, .. } = self.limits;
        let mut seen = self.seen();
        if seen.last.len() == window
            && let Some(oldest) = seen.last.pop_front()
        {
            seen.last_failed -= usize::from(oldest.failed);
            seen.last_slow -= usize::from(oldest.time > p95);
        }
        seen.calls += 1;
        seen.failed += u64::from(call.failed);
        seen.last_failed += usize::from(call.failed);
        seen.last_slow += usize::from(call.time > p95);
        seen.last.push_back(call);
    }

    /// The reason to stop the rollout, if there is one.
    pub(crate) fn verdict(&self) -> Option<String> {
        let StopLimits { error_rate, p95, min_calls, .. } = self.limits;
        let seen = self.seen();
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
        // The percentile exceeds the limit if more calls do than there are above its rank.
        (seen.last_slow > judged - rank(0.95, judged)).then(|| {
            let is = seen.percentile(0.95);
            format!(
                "the 95th percentile of the last {judged} calls is {is:.1?} for a text, and the limit is {p95:.1?}"
            )
        })
    }

    pub(crate) fn forget(&self) {
        *self.seen() = CallWindow::default();
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

impl CallWindow {
    fn error_rate(&self) -> f64 {
        self.last_failed as f64 / self.last.len().max(1) as f64
    }

    /// The percentile of the last calls: the smallest time that this part of them didn't exceed.
    fn percentile(&self, part: f64) -> Duration {
        let mut times: Vec<_> = self.last.iter().map(|call| call.time).collect();
        if times.is_empty() {
            return Duration::ZERO;
        }
        let rank = rank(part, times.len());
        *times.select_nth_unstable(rank - 1).1
    }
}

/// The rank of a percentile among this many, from 1.
fn rank(part: f64, among: usize) -> usize {
    ((part * among as f64).ceil() as usize).clamp(1, among)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn call(ms: u64, failed: bool) -> JudgedCall {
        JudgedCall { time: Duration::from_millis(ms), failed }
    }

    fn judge(meter: &CallMeter, seen: JudgedCall) -> Option<String> {
        meter.add(seen);
        meter.verdict()
    }

    #[test]
    fn percentiles_are_those_of_the_last_calls() {
        let meter =
            CallMeter::new(StopLimits::default().with_calls(100, 100).with_p95(Duration::from_millis(95)));
        for ms in (900..950).chain(1..100) {
            meter.add(call(ms, false));
        }
        assert_eq!(judge(&meter, call(100, false)), None, "the 95th of 1 to 100 is 95, which is the limit");
        let status = meter.status();
        assert_eq!((status.calls, status.failed), (150, 0));
        assert_eq!((status.p50_ms, status.p95_ms, status.p99_ms), (50.0, 95.0, 99.0));
        assert!(judge(&meter, call(101, false)).unwrap().contains("96.0ms"));
    }

    #[test]
    fn the_error_rate_is_judged_once_there_are_enough_calls() {
        let meter = CallMeter::new(StopLimits::default().with_calls(20, 10).with_error_rate(0.1));
        for _ in 0..9 {
            assert_eq!(judge(&meter, call(1, true)), None);
        }
        assert!(judge(&meter, call(1, true)).unwrap().starts_with("100.0 % of the last 10 calls failed"));
        for _ in 0..18 {
            meter.add(call(1, false));
        }
        assert_eq!(judge(&meter, call(1, false)), None, "1 of the last 20 failed");
    }

    proptest! {
        /// The incremental counts equal those of the window.
        #[test]
        fn the_counts_are_those_of_the_window(
            calls in prop::collection::vec((0..20_u64, any::<bool>()), 1..200),
            window in 1..30_usize,
        ) {
            let limits = StopLimits::default().with_calls(window, 1).with_p95(Duration::from_millis(10));
            let meter = CallMeter::new(limits.with_error_rate(1.0));
            for (ms, failed) in &calls {
                let verdict = judge(&meter, call(*ms, *failed));
                prop_assert_eq!(verdict.is_some(), meter.status().p95_ms > 10.0);
            }
            let last = &calls[calls.len().saturating_sub(window)..];
            let failed = last.iter().filter(|(_, failed)| *failed).count();
            prop_assert_eq!(meter.status().error_rate, failed as f64 / last.len() as f64);
        }
    }
}
