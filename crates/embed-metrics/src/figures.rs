//! Figures that other crates have counted, as plain structs. The program that builds a stack fills them from
//! `Cache::stats()`, `Router::stats()` and the like, so that those crates and this one don't depend on each other.
//!
//! The structs are exhaustive on purpose: a new figure is a new field, and code that forgets to fill it doesn't compile.

use std::ops::Add;
use std::time::Duration;

/// Counts by reason. A reason outside the closed set of its label is counted as `other`.
pub type ByReason<'a> = Vec<(&'a str, u64)>;

/// What a cache has done since its start.
#[derive(Debug, Clone, Default)]
pub struct CacheFigures<'a> {
    /// Its tiers.
    pub tiers: Vec<TierFigures<'a>>,
    /// Texts requested from a back end.
    pub computed: u64,
    /// Texts that another call was already computing.
    pub joined: u64,
    /// Texts whose row couldn't be stored.
    pub unfit: u64,
}

/// What a cache tier has done since its start, and what it holds.
#[derive(Debug, Clone, Default)]
pub struct TierFigures<'a> {
    /// Its name: one of [`MetricsConfig::tiers`](crate::MetricsConfig::tiers).
    pub tier: &'a str,
    /// Texts found in it.
    pub hits: u64,
    /// Texts not found in it.
    pub misses: ByReason<'a>,
    /// Vectors that it stored.
    pub stored: u64,
    /// Vectors that it didn't store.
    pub unstored: ByReason<'a>,
    /// Its entries, if known.
    pub entries: Option<u64>,
    /// Their size in bytes, if known.
    pub bytes: Option<u64>,
    /// The most bytes that they may take, if there is a limit.
    pub limit: Option<u64>,
    /// Entries evicted to make room.
    pub evicted: u64,
    /// Entries that had expired.
    pub expired: u64,
}

/// What a gateway and its process are doing.
#[derive(Debug, Clone, Copy, Default)]
pub struct GatewayFigures {
    /// Open connections.
    pub connections: u64,
    /// The most connections that may be open.
    pub connection_limit: u64,
    /// Whether shutdown has begun.
    pub draining: bool,
    /// Log lines dropped since the start.
    pub dropped_lines: u64,
}

/// What a router has done since its start.
#[derive(Debug, Clone, Default)]
pub struct RouterFigures<'a> {
    /// Its routes.
    pub routes: Vec<RouteFigures<'a>>,
    /// Texts sent to a model that doesn't support their language.
    pub unread: u64,
    /// Texts that a fallback route of the same space answered instead of the chosen one.
    pub failovers_same_space: u64,
    /// Texts that a fallback route of another space answered.
    pub failovers_other_space: u64,
    /// The rollout, if there is one.
    pub rollout: Option<RolloutFigures>,
}

/// What a route has done since its start.
#[derive(Debug, Clone, Default)]
pub struct RouteFigures<'a> {
    /// Its name: one of [`MetricsConfig::routes`](crate::MetricsConfig::routes).
    pub route: &'a str,
    /// Texts sent to it, by the rule that decided: one of [`MetricsConfig::rules`](crate::MetricsConfig::rules),
    /// `forced` or `pinned`.
    pub texts: ByReason<'a>,
    /// Calls of its service, failed ones included.
    pub calls: u64,
    /// Those that failed because of the service.
    pub failed_calls: u64,
    /// Calls that its breaker refused; they aren't among `calls`.
    pub refused_calls: u64,
}

/// The progress of a rollout.
#[derive(Debug, Clone, Default)]
pub struct RolloutFigures {
    /// The share of partitions that use the candidate, from 0 to 1.
    pub share: f64,
    /// Whether it is stopped.
    pub stopped: bool,
    /// Texts sent to the candidate.
    pub moved: u64,
    /// The old route.
    pub current: SideFigures,
    /// The candidate.
    pub candidate: SideFigures,
    /// Texts sampled for a trial of the candidate.
    pub sampled: u64,
    /// Sampled texts dropped for lack of room.
    pub dropped: u64,
    /// Texts whose vectors were compared.
    pub compared: u64,
    /// Mean and lowest cosine, if both sides are of one space.
    pub cosine: Option<(f64, f64)>,
    /// Mean share of nearest neighbours that both agree on, if they are of different spaces.
    pub overlap: Option<f64>,
}

/// One side of a rollout.
#[derive(Debug, Clone, Copy, Default)]
pub struct SideFigures {
    /// Calls, failed ones included.
    pub calls: u64,
    /// Those that failed.
    pub failed: u64,
    /// The share of recent calls that failed.
    pub error_ratio: f64,
    /// Median, 95th and 99th percentile of the time per text.
    pub percentiles: [Duration; 3],
}

/// A circuit breaker.
#[derive(Debug, Clone, Copy)]
pub struct BreakerFigures<'a> {
    /// What it protects: one of [`MetricsConfig::parts`](crate::MetricsConfig::parts).
    pub part: &'a str,
    /// Its state.
    pub state: BreakerState,
    /// How often it opened.
    pub openings: u64,
}

/// The state of a circuit breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// Calls go through.
    Closed,
    /// No call goes through, or only a trial.
    Open,
    /// What it protects was missing when the program began, and hasn't been found since.
    Absent,
}

/// What a client of Ollama has done since it connected.
#[derive(Debug, Clone, Copy, Default)]
pub struct OllamaFigures {
    /// The most requests that may be in flight at once.
    pub pool_size: u64,
    /// Requests sent to embed texts.
    pub requests: u64,
    /// Requests sent to load the model.
    pub loads: u64,
    /// Requests waited for beyond the timeout.
    pub long_waits: u64,
    /// Retries for lack of a connection.
    pub retries_connection: u64,
    /// Retries after a runner crashed.
    pub retries_crash: u64,
    /// Retries because a server was busy.
    pub retries_busy: u64,
    /// Retries because rows weren't vectors.
    pub retries_rows: u64,
    /// Retries for other reasons.
    pub retries_other: u64,
    /// Requests split in two.
    pub bisections: u64,
    /// Texts not sent, because the call had them twice.
    pub duplicates: u64,
    /// Texts that failed alone.
    pub failed_texts: u64,
    /// Rows that weren't vectors.
    pub bad_rows: u64,
    /// Different texts of one answer with the same vector.
    pub shared_vectors: u64,
    /// Checks of a server's identity.
    pub identity_checks: u64,
    /// Servers refused for their vectors.
    pub refused_servers: u64,
    /// Servers that became a new variant.
    pub new_variants: u64,
    /// How often a server was ejected.
    pub ejections: u64,
    /// How often one came back.
    pub returns: u64,
    /// Servers newer than every known version.
    pub unknown_versions: u64,
}

/// The figures of two clients together.
impl Add for OllamaFigures {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            pool_size: self.pool_size + other.pool_size,
            requests: self.requests + other.requests,
            loads: self.loads + other.loads,
            long_waits: self.long_waits + other.long_waits,
            retries_connection: self.retries_connection + other.retries_connection,
            retries_crash: self.retries_crash + other.retries_crash,
            retries_busy: self.retries_busy + other.retries_busy,
            retries_rows: self.retries_rows + other.retries_rows,
            retries_other: self.retries_other + other.retries_other,
            bisections: self.bisections + other.bisections,
            duplicates: self.duplicates + other.duplicates,
            failed_texts: self.failed_texts + other.failed_texts,
            bad_rows: self.bad_rows + other.bad_rows,
            shared_vectors: self.shared_vectors + other.shared_vectors,
            identity_checks: self.identity_checks + other.identity_checks,
            refused_servers: self.refused_servers + other.refused_servers,
            new_variants: self.new_variants + other.new_variants,
            ejections: self.ejections + other.ejections,
            returns: self.returns + other.returns,
            unknown_versions: self.unknown_versions + other.unknown_versions,
        }
    }
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
