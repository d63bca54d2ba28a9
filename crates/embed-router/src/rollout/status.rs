//! What a rollout says of itself.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Stop;

/// How a rollout goes: for people, and for whoever decides about the next stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RolloutStatus {
    /// The route that texts leave.
    pub from: Arc<str>,
    /// The candidate.
    pub to: Arc<str>,
    /// How many of a hundred partitions are to move.
    pub percentage: u8,
    /// Set while it is stopped: then nothing moves and nothing is sampled.
    pub stopped: Option<Stop>,
    /// Set if the last change couldn't be written to the state file; it holds in this process alone.
    pub unsaved: Option<String>,
    /// The old route's calls in this process.
    pub current: CallStatus,
    /// The candidate's calls in this process, those on trial included.
    pub candidate: CallStatus,
    /// What was sampled.
    pub shadow: ShadowStatus,
}

/// Calls of a route: counts since the process began (or a stop was lifted), rate and percentiles over the last calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CallStatus {
    /// All calls.
    pub calls: u64,
    /// Those that failed, as a whole or in a row, through the route's own fault.
    pub failed: u64,
    /// The part of the last calls that failed, from 0 to 1.
    pub error_rate: f64,
    /// Median of the time for one text, in milliseconds.
    pub p50_ms: f64,
    /// 95th percentile.
    pub p95_ms: f64,
    /// 99th percentile.
    pub p99_ms: f64,
}

/// Texts that the candidate was given on trial.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ShadowStatus {
    /// Texts taken.
    pub sampled: u64,
    /// Texts that there was no room for.
    pub dropped: u64,
    /// How far the vectors agree; `None` if none were compared yet.
    pub agreement: Option<Agreement>,
}

/// How far the vectors of two routes agree.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "measure", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Agreement {
    /// Both are of one space: the cosine of the two vectors of a text.
    Cosine {
        /// Texts compared.
        texts: u64,
        /// On average.
        mean: f64,
        /// The lowest.
        lowest: f64,
    },
    /// They are of two spaces: of a text's nearest neighbours among recent samples, the part that is the same in both.
    Overlap {
        /// Texts compared.
        texts: u64,
        /// On average.
        mean: f64,
        /// How many neighbours.
        neighbours: usize,
    },
}
