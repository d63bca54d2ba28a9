//! The settings of a rollout.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use embed_core::{Error, ErrorKind, Result};

/// Partitions that move from one route to a candidate.
///
/// A share of the partitions (tenants, collections) moves, never of single requests, so that each partition is in one
/// space at a time. Requests without a partition stay on the old route.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RolloutConfig {
    /// The old route.
    pub from: Arc<str>,
    /// The candidate.
    pub to: Arc<str>,
    /// The percentage of partitions that move, unless the state file has another.
    pub percentage: u8,
    /// The salt of the hash of partitions: rollouts with different salts move different partitions first.
    pub salt: Arc<str>,
    /// Whether the candidate may be of another space. It must be allowed explicitly, because a partition that moves there
    /// finds nothing until its documents are embedded again.
    pub cross_space: bool,
    /// The file with percentage and stop, which other processes can read and change.
    pub state_file: Option<PathBuf>,
    /// When the rollout stops automatically.
    pub limits: StopLimits,
    /// Which texts are sent to the candidate on trial.
    pub shadow: ShadowConfig,
}

/// The limits for automatic stops.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct StopLimits {
    /// The highest share of failed calls, from 0 to 1.
    pub error_rate: f64,
    /// The highest 95th percentile of the time per text: the time of a call divided by its number of texts.
    pub p95: Duration,
    /// How many recent calls both limits apply to.
    pub window: usize,
    /// The number of calls before the limits apply.
    pub min_calls: usize,
}

/// What is sent to the candidate on trial, in addition to the texts that it serves. Its vectors are compared and discarded.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct ShadowConfig {
    /// The share of the old route's calls that are sampled, from 0 to 1.
    pub share: f64,
    /// The most texts sampled from one call; the first ones are taken.
    pub rows_of_a_call: usize,
    /// The most texts in the queue. Further ones are dropped and counted.
    pub waiting_rows: usize,
    /// The most bytes of queued texts and their vectors.
    pub waiting_bytes: usize,
    /// The most samples in flight at the candidate.
    pub in_flight: usize,
    /// How long the candidate may take for a sample, before it counts as failed.
    pub timeout: Duration,
    /// The number of neighbours to compare if the spaces differ.
    pub neighbours: usize,
    /// The number of recent samples among which neighbours are searched.
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

    /// Sets the percentage of partitions that move.
    #[must_use]
    pub fn with_percentage(mut self, percentage: u8) -> Self {
        self.percentage = percentage;
        self
    }

    /// Sets the salt of the hash of partitions.
    #[must_use]
    pub fn with_salt(mut self, salt: impl Into<Arc<str>>) -> Self {
        self.salt = salt.into();
        self
    }

    /// Sets whether the candidate may be of another space.
    #[must_use]
    pub fn with_cross_space(mut self, allowed: bool) -> Self {
        self.cross_space = allowed;
        self
    }

    /// Sets the file with percentage and stop.
    #[must_use]
    pub fn with_state_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.state_file = Some(path.into());
        self
    }

    /// Sets when the rollout stops automatically.
    #[must_use]
    pub fn with_limits(mut self, limits: StopLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets which texts are sent to the candidate on trial.
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
            () if shadow.timeout.is_zero() => wrong("shadow.timeout", "must be more than zero"),
            () if shadow.neighbours == 0 => wrong("shadow.neighbours", "must be at least 1"),
            () if shadow.reference <= shadow.neighbours => {
                wrong("shadow.reference", "must be more than `shadow.neighbours`")
            }
            () => Ok(()),
        }
    }
}

impl StopLimits {
    /// Sets the highest share of failed calls.
    #[must_use]
    pub fn with_error_rate(mut self, rate: f64) -> Self {
        self.error_rate = rate;
        self
    }

    /// Sets the highest 95th percentile of the time per text.
    #[must_use]
    pub fn with_p95(mut self, p95: Duration) -> Self {
        self.p95 = p95;
        self
    }

    /// Sets how many recent calls the limits apply to, and after how many calls.
    #[must_use]
    pub fn with_calls(mut self, window: usize, min_calls: usize) -> Self {
        self.window = window;
        self.min_calls = min_calls;
        self
    }
}

impl ShadowConfig {
    /// Sets the share of calls that are sampled.
    #[must_use]
    pub fn with_share(mut self, share: f64) -> Self {
        self.share = share;
        self
    }

    /// Sets the most texts sampled from one call.
    #[must_use]
    pub fn with_rows_of_a_call(mut self, rows: usize) -> Self {
        self.rows_of_a_call = rows;
        self
    }

    /// Sets the most texts and bytes in the queue.
    #[must_use]
    pub fn with_budget(mut self, rows: usize, bytes: usize) -> Self {
        self.waiting_rows = rows;
        self.waiting_bytes = bytes;
        self
    }

    /// Sets the most samples in flight at the candidate, and their timeout.
    #[must_use]
    pub fn with_candidate(mut self, in_flight: usize, timeout: Duration) -> Self {
        self.in_flight = in_flight;
        self.timeout = timeout;
        self
    }

    /// Sets how many neighbours are compared, among how many samples, if the spaces differ.
    #[must_use]
    pub fn with_neighbours(mut self, neighbours: usize, reference: usize) -> Self {
        self.neighbours = neighbours;
        self.reference = reference;
        self
    }
}

/// One call in twenty may fail, and a text may take a second: a healthy service stays far below these limits.
impl Default for StopLimits {
    fn default() -> Self {
        Self { error_rate: 0.05, p95: Duration::from_secs(1), window: 200, min_calls: 50 }
    }
}

/// Nothing is sampled until `share` is set. The other limits are small: at most 256 texts and 4 MiB are queued, two
/// samples are in flight, and 256 pairs of vectors (under a megabyte at 384 numbers) are the reference.
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
