//! What others have counted, as plain structs: whoever builds a stack fills them from `Cache::stats()`,
//! `Router::stats()` and the like, so that those crates and this one need not know each other.
//!
//! The structs are exhaustive on purpose: a new figure is a new field, and a bridge that forgets it doesn't compile.

use std::time::Duration;

/// Counts by reason. A reason that isn't in the closed set of its label is `other`.
pub type ByReason<'a> = Vec<(&'a str, u64)>;

/// What a cache has done since its start.
#[derive(Debug, Clone, Default)]
pub struct CacheFigures<'a> {
    /// Its tiers.
    pub tiers: Vec<TierFigures<'a>>,
    /// Texts that a back end was asked for.
    pub computed: u64,
    /// Texts that another call was computing already.
    pub joined: u64,
    /// Texts whose row wasn't fit to be stored.
    pub unfit: u64,
}

/// What a tier of a cache has done since its start, and what it holds.
#[derive(Debug, Clone, Default)]
pub struct TierFigures<'a> {
    /// Its name: one of [`MetricsConfig::tiers`](crate::MetricsConfig::tiers).
    pub tier: &'a str,
    /// Texts that it had.
    pub hits: u64,
    /// Texts that it didn't give.
    pub misses: ByReason<'a>,
    /// Vectors that it stored.
    pub stored: u64,
    /// Vectors that it didn't store.
    pub unstored: ByReason<'a>,
    /// Entries, if it can say.
    pub entries: Option<u64>,
    /// Bytes that they take, if it can say.
    pub bytes: Option<u64>,
    /// Bytes that they may take, if there is a limit.
    pub limit: Option<u64>,
    /// Entries thrown out to make room.
    pub evicted: u64,
    /// Entries found too old.
    pub expired: u64,
}

/// What a gateway and its process are doing.
#[derive(Debug, Clone, Copy, Default)]
pub struct GatewayFigures {
    /// Open connections.
    pub connections: u64,
    /// The most that may be open.
    pub connection_limit: u64,
    /// Whether shutdown has begun.
    pub draining: bool,
    /// Lines of the log that were dropped since the start.
    pub dropped_lines: u64,
}

/// What a router has done since its start.
#[derive(Debug, Clone, Default)]
pub struct RouterFigures<'a> {
    /// Its routes.
    pub routes: Vec<RouteFigures<'a>>,
    /// Texts sent to a model that doesn't read their language.
    pub unread: u64,
    /// Texts that another route of the same space gave than the one chosen.
    pub failovers_same_space: u64,
    /// Texts that a route of another space gave.
    pub failovers_other_space: u64,
    /// The rollout, if there is one.
    pub rollout: Option<RolloutFigures>,
}

/// What a route has done since its start.
#[derive(Debug, Clone, Default)]
pub struct RouteFigures<'a> {
    /// Its name: one of [`MetricsConfig::routes`](crate::MetricsConfig::routes).
    pub route: &'a str,
    /// Texts sent here, by the rule that decided: one of [`MetricsConfig::rules`](crate::MetricsConfig::rules),
    /// `forced` or `pinned`.
    pub texts: ByReason<'a>,
    /// Calls of its service, failed ones included.
    pub calls: u64,
    /// Those that failed by its own fault.
    pub failed_calls: u64,
    /// Calls that its breaker didn't let through; they aren't among `calls`.
    pub refused_calls: u64,
}

/// How a rollout goes.
#[derive(Debug, Clone, Default)]
pub struct RolloutFigures {
    /// The share of the partitions that get the candidate, from 0 to 1.
    pub share: f64,
    /// Whether it is stopped.
    pub stopped: bool,
    /// Texts that it sent to its candidate.
    pub moved: u64,
    /// The old route.
    pub current: SideFigures,
    /// The candidate.
    pub candidate: SideFigures,
    /// Texts given to the candidate on trial.
    pub sampled: u64,
    /// Texts that there was no room for.
    pub dropped: u64,
    /// Texts whose vectors were compared.
    pub compared: u64,
    /// Mean and lowest cosine, where both are of one space.
    pub cosine: Option<(f64, f64)>,
    /// Mean share of the nearest neighbours that both agree on, where they are of two.
    pub overlap: Option<f64>,
}

/// One side of a rollout.
#[derive(Debug, Clone, Copy, Default)]
pub struct SideFigures {
    /// Calls, failed ones included.
    pub calls: u64,
    /// Those that failed.
    pub failed: u64,
    /// The share of the last calls that failed.
    pub error_ratio: f64,
    /// Median, 95th and 99th percentile of the time for one text.
    pub percentiles: [Duration; 3],
}

/// A circuit breaker.
#[derive(Debug, Clone, Copy)]
pub struct BreakerFigures<'a> {
    /// What it stands before: one of [`MetricsConfig::parts`](crate::MetricsConfig::parts).
    pub part: &'a str,
    /// Its state.
    pub state: BreakerState,
    /// Times that it opened.
    pub openings: u64,
}

/// The state of a circuit breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// Calls go through.
    Closed,
    /// No call goes through, or just one on trial.
    Open,
    /// What it stands before wasn't there when the program began, and hasn't been found since.
    Absent,
}

/// What a client of Ollama has done since it connected.
#[derive(Debug, Clone, Copy, Default)]
pub struct OllamaFigures {
    /// Requests that may be on their way at once.
    pub pool_size: u64,
    /// Requests sent to embed texts.
    pub requests: u64,
    /// Requests sent to load the model.
    pub loads: u64,
    /// Requests waited for beyond the timeout.
    pub long_waits: u64,
    /// Tries again for lack of a connection.
    pub retries_connection: u64,
    /// Tries again after a runner crashed.
    pub retries_crash: u64,
    /// Tries again because a server was busy.
    pub retries_busy: u64,
    /// Tries again because rows weren't vectors.
    pub retries_rows: u64,
    /// Tries again for other reasons.
    pub retries_other: u64,
    /// Requests cut in two.
    pub bisections: u64,
    /// Texts not sent, because the call had them twice.
    pub duplicates: u64,
    /// Texts that failed alone.
    pub failed_texts: u64,
    /// Rows that weren't vectors.
    pub bad_rows: u64,
    /// Different texts of one answer with the same vector.
    pub shared_vectors: u64,
    /// Servers asked who they are.
    pub identity_checks: u64,
    /// Servers refused for their vectors.
    pub refused_servers: u64,
    /// Servers that became a new variant.
    pub new_variants: u64,
    /// Times that a server was taken out.
    pub ejections: u64,
    /// Times that one came back.
    pub returns: u64,
    /// Servers newer than every known version.
    pub unknown_versions: u64,
}

/// What an E5 engine has done since it was loaded.
#[derive(Debug, Clone, Copy, Default)]
pub struct E5Figures {
    /// Threads that embed.
    pub threads: u64,
    /// Texts that already began with a prefix.
    pub prefixed_texts: u64,
}

impl BreakerState {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::Absent => "absent",
        }
    }
}
