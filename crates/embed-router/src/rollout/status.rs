//! The status of a rollout.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Stop;

/// The status of a rollout, for people and for programs that decide about the next stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RolloutStatus {
    /// The old route.
    pub from: Arc<str>,
    /// The candidate.
    pub to: Arc<str>,
    /// The percentage of partitions to move.
    pub percentage: u8,
    /// Set while the rollout is stopped: then nothing moves and nothing is sampled.
    pub stopped: Option<Stop>,
    /// Set if the last change couldn't be written to the state file, so that it only holds in this process.
    pub unsaved: Option<String>,
    /// The old route's calls in this process.
    pub current: CallStatus,
    /// The candidate's calls in this process, those on trial included.
    pub candidate: CallStatus,
    /// The trials.
    pub shadow: ShadowStatus,
}

/// Calls of a route: counts since the process started (or a stop was lifted), rate and percentiles of the recent calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CallStatus {
    /// All calls.
    pub calls: u64,
    /// Those that failed because of the route, as a whole or in a row.
    pub failed: u64,
    /// The share of recent calls that failed, from 0 to 1.
    pub error_rate: f64,
    /// Median time per text, in milliseconds.
    pub p50_ms: f64,
    /// 95th percentile, in milliseconds.
    pub p95_ms: f64,
    /// 99th percentile, in milliseconds.
    pub p99_ms: f64,
}

/// Texts sent to the candidate on trial.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ShadowStatus {
    /// Texts sampled.
    pub sampled: u64,
    /// Texts dropped for lack of room.
    pub dropped: u64,
    /// The agreement of the vectors; `None` if none were compared yet.
    pub agreement: Option<Agreement>,
}

/// The agreement of two routes' vectors.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "measure", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Agreement {
    /// For one space: the cosine between a text's two vectors.
    Cosine {
        /// Texts compared.
        texts: u64,
        /// The mean.
        mean: f64,
        /// The lowest.
        lowest: f64,
    },
    /// For different spaces: the share of a text's nearest neighbours among recent samples that both routes agree on.
    Overlap {
        /// Texts compared.
        texts: u64,
        /// The mean.
        mean: f64,
        /// The number of neighbours.
        neighbours: usize,
    },
}
