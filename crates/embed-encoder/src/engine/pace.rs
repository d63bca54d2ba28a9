//! Whether a text that comes alone is done sooner on all cores than on one.
//!
//! On a quiet machine it is. Where another process has one of the cores, every step of the text waits for the thread on that
//! core, and one core alone is sooner. So both ways are timed, and now and then the other one is tried.

use std::time::Duration;

/// Every so many texts of a length take the other way, to see whether it has become the better one.
const BETWEEN_TRIALS: u32 = 32;

/// The part that a new time has in the average: a change counts after a few texts, and one that was disturbed doesn't.
const WEIGHT: f64 = 0.25;

/// One core is taken from this part of the time on all cores on.
const CLEARLY: f64 = 0.9;

/// Lengths up to powers of two: a token of a short text takes longer.
const LENGTHS: usize = 12;

/// The times of texts that came alone, by their length.
#[derive(Debug, Default)]
pub(super) struct Pace([Times; LENGTHS]);

/// Averages of seconds a token.
#[derive(Debug, Clone, Copy, Default)]
struct Times {
    on_all: Option<f64>,
    on_one: Option<f64>,
    texts: u32,
}

impl Pace {
    /// Whether the next text of this length takes all cores.
    pub(super) fn takes_all(&mut self, tokens: usize) -> bool {
        let times = self.of(tokens);
        times.texts = times.texts.wrapping_add(1);
        let better = match (times.on_all, times.on_one) {
            (Some(on_all), Some(on_one)) => on_one >= on_all * CLEARLY,
            _ => true,
        };
        better != times.texts.is_multiple_of(BETWEEN_TRIALS)
    }

    /// A text took this long.
    pub(super) fn took(&mut self, on_all: bool, tokens: usize, time: Duration) {
        let times = self.of(tokens);
        let average = if on_all { &mut times.on_all } else { &mut times.on_one };
        let new = time.as_secs_f64() / tokens.max(1) as f64;
        *average = Some(average.map_or(new, |old| old + WEIGHT * (new - old)));
    }

    fn of(&mut self, tokens: usize) -> &mut Times {
        let length = usize::try_from(tokens.max(1).ilog2()).unwrap_or(LENGTHS);
        &mut self.0[length.min(LENGTHS - 1)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of so many texts take all cores, if these are the milliseconds of a text on all and on one.
    fn on_all(pace: &mut Pace, texts: usize, [all, one]: [u64; 2]) -> usize {
        let text = |_: &usize| {
            let on_all = pace.takes_all(20);
            pace.took(on_all, 20, Duration::from_millis(if on_all { all } else { one }));
            on_all
        };
        (0..texts).filter(text).count()
    }

    #[test]
    fn all_cores_are_taken_while_they_are_free() {
        let mut pace = Pace::default();
        assert_eq!(on_all(&mut pace, 320, [2, 3]), 310);
    }

    #[test]
    fn one_core_is_taken_while_another_process_has_the_rest() {
        let mut pace = Pace::default();
        on_all(&mut pace, 64, [2, 3]);
        // It takes a few texts to be sure, and then the others are trials.
        let busy = on_all(&mut pace, 320, [5, 3]);
        assert!((10..20).contains(&busy), "{busy}");
        // A trial is enough if it was clearly better, and the average follows within a few.
        on_all(&mut pace, 320, [2, 3]);
        assert_eq!(on_all(&mut pace, 320, [2, 3]), 310);
    }

    #[test]
    fn lengths_do_not_mix() {
        let mut pace = Pace::default();
        on_all(&mut pace, 320, [5, 3]);
        assert!(
            !pace.takes_all(20) && pace.takes_all(300) && pace.takes_all(1) && pace.takes_all(usize::MAX)
        );
    }
}
