//! Middle and spread of samples, and of the ratios of two contenders.

use serde::{Deserialize, Serialize};

use crate::figure::Better;

/// A middle, and how far the samples lie from it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Half of the samples are below it.
    pub median: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// From so many samples on, the ends are percentiles: criterion takes up to a hundred, and one of them that a
/// neighbour disturbed would be all that the ends tell.
const MANY: usize = 10;

impl Spread {
    /// Of few samples the smallest and the largest are the ends; of ten or more, the 10th and the 90th percentile.
    /// `None` without samples.
    #[must_use]
    pub fn of(samples: &[f64]) -> Option<Self> {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().checked_sub(1)?;
        let cut = if sorted.len() >= MANY { sorted.len() / 10 } else { 0 };
        let median = f64::midpoint(sorted[last / 2], sorted[sorted.len() / 2]);
        Some(Self { median, low: sorted[cut], high: sorted[last - cut] })
    }

    /// How many times better `own` is than `base`: 2 is twice the throughput or half the time. Where both measured
    /// in turns, a ratio is made for each round, and what disturbed both of them cancels out. Otherwise the spread
    /// is the widest that the two spreads allow.
    #[must_use]
    pub fn ratio(own: &[f64], base: &[f64], better: Better, in_turns: bool) -> Option<Self> {
        let (top, bottom) = match better {
            Better::Higher => (own, base),
            Better::Lower => (base, own),
        };
        if bottom.iter().any(|&sample| sample <= 0.0) {
            return None;
        }
        if in_turns && own.len() == base.len() {
            let rounds: Vec<f64> = top.iter().zip(bottom).map(|(top, bottom)| top / bottom).collect();
            return Self::of(&rounds);
        }
        let (top, bottom) = (Self::of(top)?, Self::of(bottom)?);
        Some(Self {
            median: top.median / bottom.median,
            low: top.low / bottom.high,
            high: top.high / bottom.low,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_of_few_are_the_smallest_and_the_largest() {
        assert_eq!(Spread::of(&[3.0, 1.0, 2.0]), Some(Spread { median: 2.0, low: 1.0, high: 3.0 }));
        assert_eq!(Spread::of(&[4.0, 1.0]), Some(Spread { median: 2.5, low: 1.0, high: 4.0 }));
        assert_eq!(Spread::of(&[]), None);
    }

    #[test]
    fn one_disturbed_sample_of_many_is_no_end() {
        let mut samples: Vec<f64> = (1..=20).map(f64::from).collect();
        samples[19] = 1e9;
        assert_eq!(Spread::of(&samples), Some(Spread { median: 10.5, low: 3.0, high: 18.0 }));
    }

    #[test]
    fn in_turns_what_disturbed_both_cancels_out() {
        let ratio = Spread::ratio(&[20.0, 10.0, 20.0], &[10.0, 5.0, 10.0], Better::Higher, true).unwrap();
        assert_eq!(ratio, Spread { median: 2.0, low: 2.0, high: 2.0 });
        let ratio = Spread::ratio(&[20.0, 10.0, 20.0], &[10.0, 5.0, 10.0], Better::Higher, false).unwrap();
        assert_eq!(ratio, Spread { median: 2.0, low: 1.0, high: 4.0 });
    }

    #[test]
    fn half_the_time_is_twice_as_good() {
        let ratio = Spread::ratio(&[5.0], &[10.0], Better::Lower, true).unwrap();
        assert!((ratio.median - 2.0).abs() < 1e-12);
        assert_eq!(Spread::ratio(&[0.0], &[10.0], Better::Lower, true), None);
    }
}
