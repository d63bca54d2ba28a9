//! The settings of a rollout: from where to where, how much, and when it stops by itself.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use embed_core::{Error, ErrorKind, Result};

/// Partitions that move from one route to a candidate.
///
/// What moves is a share of the partitions (tenants, collections), never of single requests, so that each one is
/// in one space at a time. Requests without a partition stay on the old route.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RolloutConfig {
    /// The route that texts leave.
    pub from: Arc<str>,
    /// The route that they go to instead.
    pub to: Arc<str>,
    /// How many of a hundred partitions move, as long as the state file doesn't say otherwise.
    pub percentage: u8,
    /// Goes into the hash: two rollouts with different salts choose different partitions first.
    pub salt: Arc<str>,
    /// Whether the candidate may be of another space. A partition that moves there finds nothing until its
    /// documents were embedded anew, so it has to be said.
    pub cross_space: bool,
    /// Where percentage and stop are kept, so that other processes read and set them.
    pub state_file: Option<PathBuf>,
    /// When the rollout stops by itself.
    pub limits: StopLimits,
    /// What is sent to the candidate on trial.
    pub shadow: ShadowConfig,
}

/// When a candidate is given up.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct StopLimits {
    /// The largest part of failed calls, from 0 to 1.
    pub error_rate: f64,
    /// The largest 95th percentile of the time for one text: that of a call, divided by its texts.
    pub p95: Duration,
    /// How many of the last calls both are taken over.
    pub window: usize,
    /// Calls before either is judged.
    pub min_calls: usize,
}

/// What the candidate gets to see beside the texts that it serves. Its vectors are compared and thrown away.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct ShadowConfig {
    /// The part of the old route's calls that are sampled, from 0 to 1.
    pub share: f64,
    /// Texts taken of one call, the first ones.
    pub rows_of_a_call: usize,
    /// Texts that may wait. What comes on top is dropped and counted.
    pub waiting_rows: usize,
    /// Bytes of waiting texts and their vectors.
    pub waiting_bytes: usize,
    /// Samples that are at the candidate at a time.
    pub in_flight: usize,
    /// How long the candidate may take for a sample; then the sample counts as failed.
    pub timeout: Duration,
    /// Neighbours that are compared where the spaces differ.
    pub neighbours: usize,
    /// Recent samples among which neighbours are looked for.
    pub reference: usize,
}

impl RolloutConfig {
    /// A rollout that moves nothing yet.
    pub fn new(from: impl Into<Arc<str>>, to: impl Into<Arc<str>>) -> Self {
        Self {
            from: from.into(),
            to: to.into(),
            percentage: 0,
            salt: "".into(),
            cross_space: false,
            state_file: None,
            limits: StopLimits::default(),
            shadow: ShadowConfig::default(),
        }
    }

    /// Sets how many of a hundred partitions move.
    #[must_use]
    pub fn with_percentage(mut self, percentage: u8) -> Self {
        self.percentage = percentage;
        self
    }

    /// Sets what goes into the hash beside the partition.
    #[must_use]
    pub fn with_salt(mut self, salt: impl Into<Arc<str>>) -> Self {
        self.salt = salt.into();
        self
    }

    /// Says that the candidate may be of another space.
    #[must_use]
    pub fn with_cross_space(mut self, allowed: bool) -> Self {
        self.cross_space = allowed;
        self
    }

    /// Sets where percentage and stop are kept.
    #[must_use]
    pub fn with_state_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.state_file = Some(path.into());
        self
    }

    /// Sets when the rollout stops by itself.
    #[must_use]
    pub fn with_limits(mut self, limits: StopLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets what is sent to the candidate on trial.
    #[must_use]
    pub fn with_shadow(mut self, shadow: ShadowConfig) -> Self {
        self.shadow = shadow;
        self
    }

    pub(crate) fn check(&self) -> Result<()> {
        let wrong = |field: &'static str, rule: &str| {
            Err(Error::new(ErrorKind::Config, format!("`{field}` of the rollout {rule}")))
        };
        let (limits, shadow) = (&self.limits, &self.shadow);
        let part = 0.0..=1.0;
        match () {
            () if self.from == self.to => wrong("to", "must be another route than `from`"),
            () if self.percentage > 100 => wrong("percentage", "must be from 0 to 100"),
            () if !part.contains(&limits.error_rate) => wrong("limits.error_rate", "must be from 0 to 1"),
            () if limits.min_calls == 0 => wrong("limits.min_calls", "must be at least 1"),
            () if limits.window < limits.min_calls => {
                wrong("limits.window", "must be at least `limits.min_calls`")
            }
            () if !part.contains(&shadow.share) => wrong("shadow.share", "must be from 0 to 1"),
            () if shadow.rows_of_a_call == 0 => wrong("shadow.rows_of_a_call", "must be at least 1"),
            () if shadow.in_flight == 0 => wrong("shadow.in_flight", "must be at least 1"),
            () if shadow.timeout.is_zero() => wrong("shadow.timeout", "must be more than nothing"),
            () if shadow.neighbours == 0 => wrong("shadow.neighbours", "must be at least 1"),
            () if shadow.reference <= shadow.neighbours => {
                wrong("shadow.reference", "must be more than `shadow.neighbours`")
            }
            () => Ok(()),
        }
    }
}

impl StopLimits {
    /// Sets the largest part of failed calls.
    #[must_use]
    pub fn with_error_rate(mut self, rate: f64) -> Self {
        self.error_rate = rate;
        self
    }

    /// Sets the largest 95th percentile of the time for one text.
    #[must_use]
    pub fn with_p95(mut self, p95: Duration) -> Self {
        self.p95 = p95;
        self
    }

    /// Sets how many calls are judged, and how many there must be.
    #[must_use]
    pub fn with_calls(mut self, window: usize, min_calls: usize) -> Self {
        self.window = window;
        self.min_calls = min_calls;
        self
    }
}

impl ShadowConfig {
    /// Sets the part of the calls that are sampled.
    #[must_use]
    pub fn with_share(mut self, share: f64) -> Self {
        self.share = share;
        self
    }

    /// Sets how many texts are taken of one call.
    #[must_use]
    pub fn with_rows_of_a_call(mut self, rows: usize) -> Self {
        self.rows_of_a_call = rows;
        self
    }

    /// Sets how many texts may wait, and how many bytes.
    #[must_use]
    pub fn with_budget(mut self, rows: usize, bytes: usize) -> Self {
        self.waiting_rows = rows;
        self.waiting_bytes = bytes;
        self
    }

    /// Sets how many samples are at the candidate at a time, and for how long.
    #[must_use]
    pub fn with_candidate(mut self, in_flight: usize, timeout: Duration) -> Self {
        self.in_flight = in_flight;
        self.timeout = timeout;
        self
    }

    /// Sets how many neighbours are compared among how many samples, where the spaces differ.
    #[must_use]
    pub fn with_neighbours(mut self, neighbours: usize, reference: usize) -> Self {
        self.neighbours = neighbours;
        self.reference = reference;
        self
    }
}

/// One call in twenty may fail, and a text may take a second: limits that a working service stays far from.
impl Default for StopLimits {
    fn default() -> Self {
        Self { error_rate: 0.05, p95: Duration::from_secs(1), window: 200, min_calls: 50 }
    }
}

/// Nothing is sampled until `share` is set. The rest keeps it small: at most 256 texts or 4 MiB wait, two samples are
/// at the candidate, and 256 pairs of vectors (under a megabyte at 384 numbers) are the reference.
impl Default for ShadowConfig {
    fn default() -> Self {
        Self {
            share: 0.0,
            rows_of_a_call: 8,
            waiting_rows: 256,
            waiting_bytes: 4 << 20,
            in_flight: 2,
            timeout: Duration::from_secs(5),
            neighbours: 10,
            reference: 256,
        }
    }
}
