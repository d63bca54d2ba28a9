//! What others have counted, as plain structs: whoever builds a stack fills them from `Cache::stats()`,
//! `Router::stats()` and the like, so that those crates and this one need not know each other.
//!
//! The structs are exhaustive on purpose: a new figure is a new field, and a bridge that forgets it doesn't compile.

use std::time::Duration;

use crate::{Metrics, names};

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

/// What others have counted. Each of these is called before [`render`](Self::render), and once for all parts of its
/// sort: two caches are one [`CacheFigures`] with the tiers of both, or the second one hides the first.
impl Metrics {
    /// Shows what a gateway and its process are doing.
    pub fn observe_gateway(&self, figures: &GatewayFigures) {
        let mut snapshot = self.registry().snapshot();
        snapshot.level(&names::GATEWAY_CONNECTIONS, &["open"], figures.connections as f64);
        snapshot.level(&names::GATEWAY_CONNECTIONS, &["limit"], figures.connection_limit as f64);
        snapshot.level(&names::GATEWAY_DRAINING, &[], f64::from(u8::from(figures.draining)));
        snapshot.count(&names::LOG_DROPPED, &[], figures.dropped_lines);
        snapshot.show();
    }

    /// Shows what the process uses, under the names that all programs have for it: `process_cpu_seconds_total`,
    /// `process_resident_memory_bytes`, `process_open_fds`, `process_max_fds`, `process_start_time_seconds` and so on.
    pub fn observe_process(&self) {
        ::metrics::with_local_recorder(&*self.registry().recorder, || {
            let collector = metrics_process::Collector::default();
            collector.describe();
            collector.collect();
        });
    }

    /// Takes over what a cache has counted.
    pub fn observe_cache(&self, figures: &CacheFigures<'_>) {
        let mut now = self.registry().snapshot();
        for tier in &figures.tiers {
            let name = &[tier.tier];
            now.count(&names::CACHE_HITS, name, tier.hits);
            for (reason, count) in &tier.misses {
                now.count(&names::CACHE_MISSES, &[tier.tier, reason], *count);
            }
            now.count(&names::CACHE_STORED, name, tier.stored);
            for (reason, count) in &tier.unstored {
                now.count(&names::CACHE_UNSTORED, &[tier.tier, reason], *count);
            }
            let number = |figure: Option<u64>| figure.map(|figure| figure as f64);
            now.reading(&names::CACHE_ENTRIES, name, number(tier.entries));
            now.reading(&names::CACHE_BYTES, name, number(tier.bytes));
            now.reading(&names::CACHE_LIMIT, name, number(tier.limit));
            now.count(&names::CACHE_EVICTIONS, name, tier.evicted);
            now.count(&names::CACHE_EXPIRATIONS, name, tier.expired);
        }
        now.count(&names::CACHE_COMPUTED, &[], figures.computed);
        now.count(&names::CACHE_JOINED, &[], figures.joined);
        now.count(&names::CACHE_UNFIT, &[], figures.unfit);
        now.show();
    }

    /// Takes over what a router has counted.
    pub fn observe_router(&self, figures: &RouterFigures<'_>) {
        let mut now = self.registry().snapshot();
        for route in &figures.routes {
            for (rule, texts) in &route.texts {
                now.count(&names::ROUTER_DECISIONS, &[route.route, rule], *texts);
            }
            let results = [
                ("answered", route.calls.saturating_sub(route.failed_calls)),
                ("failed", route.failed_calls),
                ("refused", route.refused_calls),
            ];
            for (result, calls) in results {
                now.count(&names::ROUTER_CALLS, &[route.route, result], calls);
            }
        }
        now.count(&names::ROUTER_UNREAD, &[], figures.unread);
        now.count(&names::ROUTER_FAILOVERS, &["same_space"], figures.failovers_same_space);
        now.count(&names::ROUTER_FAILOVERS, &["other_space"], figures.failovers_other_space);
        if let Some(rollout) = &figures.rollout {
            now.level(&names::ROLLOUT_SHARE, &[], rollout.share);
            now.level(&names::ROLLOUT_STOPPED, &[], f64::from(u8::from(rollout.stopped)));
            now.count(&names::ROLLOUT_MOVED, &[], rollout.moved);
            for (side, of) in [("current", &rollout.current), ("candidate", &rollout.candidate)] {
                let answered = of.calls.saturating_sub(of.failed);
                now.level(&names::ROLLOUT_CALLS, &[side, "answered"], answered as f64);
                now.level(&names::ROLLOUT_CALLS, &[side, "failed"], of.failed as f64);
                let known = |figure: f64| (of.calls > 0).then_some(figure);
                now.reading(&names::ROLLOUT_ERRORS, &[side], known(of.error_ratio));
                for (percentile, time) in ["p50", "p95", "p99"].into_iter().zip(of.percentiles) {
                    now.reading(&names::ROLLOUT_LATENCY, &[side, percentile], known(time.as_secs_f64()));
                }
            }
            now.count(&names::SHADOW_TEXTS, &["sampled"], rollout.sampled);
            now.count(&names::SHADOW_TEXTS, &["dropped"], rollout.dropped);
            now.level(&names::SHADOW_COMPARED, &[], rollout.compared as f64);
            let (mean, lowest) = rollout.cosine.unzip();
            now.reading(&names::SHADOW_COSINE, &["mean"], mean);
            now.reading(&names::SHADOW_COSINE, &["lowest"], lowest);
            now.reading(&names::SHADOW_OVERLAP, &[], rollout.overlap);
        }
        now.show();
    }

    /// Takes over the states of all circuit breakers.
    pub fn observe_breakers(&self, breakers: &[BreakerFigures<'_>]) {
        let mut now = self.registry().snapshot();
        for breaker in breakers {
            now.level(&names::BREAKERS, &[breaker.part, breaker.state.as_str()], 1.0);
            now.count(&names::BREAKER_OPENINGS, &[breaker.part], breaker.openings);
        }
        now.show();
    }

    /// Takes over what clients of Ollama have counted, added up if there are several.
    pub fn observe_ollama(&self, figures: &OllamaFigures) {
        let mut now = self.registry().snapshot();
        now.level(&names::OLLAMA_POOL_SIZE, &[], figures.pool_size as f64);
        now.count(&names::OLLAMA_REQUESTS, &[], figures.requests);
        now.count(&names::OLLAMA_LOADS, &[], figures.loads);
        now.count(&names::OLLAMA_LONG_WAITS, &[], figures.long_waits);
        for (reason, retries) in [
            ("connection", figures.retries_connection),
            ("crash", figures.retries_crash),
            ("busy", figures.retries_busy),
            ("rows", figures.retries_rows),
            (names::OTHER, figures.retries_other),
        ] {
            now.count(&names::OLLAMA_RETRIES, &[reason], retries);
        }
        now.count(&names::OLLAMA_BISECTIONS, &[], figures.bisections);
        for (event, texts) in [
            ("duplicate", figures.duplicates),
            ("failed", figures.failed_texts),
            ("bad_row", figures.bad_rows),
            ("shared_vector", figures.shared_vectors),
        ] {
            now.count(&names::OLLAMA_TEXTS, &[event], texts);
        }
        for (event, servers) in [
            ("checked", figures.identity_checks),
            ("refused", figures.refused_servers),
            ("new_variant", figures.new_variants),
            ("ejected", figures.ejections),
            ("returned", figures.returns),
            ("unknown_version", figures.unknown_versions),
        ] {
            now.count(&names::OLLAMA_SERVERS, &[event], servers);
        }
        now.show();
    }

    /// Takes over what engines of the E5 family have counted, added up if there are several.
    pub fn observe_e5(&self, figures: &E5Figures) {
        let mut now = self.registry().snapshot();
        now.level(&names::E5_THREADS, &[], figures.threads as f64);
        now.count(&names::E5_PREFIXED, &[], figures.prefixed_texts);
        now.show();
    }
}

impl BreakerState {
    fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::Absent => "absent",
        }
    }
}
