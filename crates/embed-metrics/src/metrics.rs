//! All metrics of a program: recording and rendering.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use embed_core::{Error, ErrorKind, ModelInfo, Result};

use crate::config::MetricsConfig;
use crate::figures::{BreakerFigures, CacheFigures, E5Figures, GatewayFigures, OllamaFigures, RouterFigures};
use crate::gateway::GatewayMetrics;
use crate::names;
use crate::registry::Registry;

/// All metrics of a program. Cheap to clone; clones are the same metrics.
///
/// It is a value, not a global: two of them in one process are independent, so each test can have its own. Everything
/// that records gets a reference at construction.
///
/// The methods `observe_…` copy figures that other crates have counted. Call each before [`render`](Self::render), once
/// for all components of its kind: two caches are one [`CacheFigures`] with the tiers of both, or the second would
/// overwrite the first.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
}

impl Metrics {
    /// The content type of [`render`](Self::render)'s text.
    pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

    /// Metrics with every series of the [table](names::GROUPS) at zero, or left out while its value is unknown.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if a setting is invalid; it names the field.
    pub fn new(config: MetricsConfig) -> Result<Self> {
        let registry = Arc::new(Registry::new(config)?);
        let mut build = registry.snapshot();
        build.level(&names::BUILD_INFO, &registry.build(), 1.0);
        build.show();
        Ok(Self { registry })
    }

    /// All metrics in Prometheus's text format (version 0.0.4, [`CONTENT_TYPE`](Self::CONTENT_TYPE)).
    ///
    /// Figures of other crates are those of the last `observe_…` calls, so call those first.
    #[must_use]
    pub fn render(&self) -> String {
        self.registry.render()
    }

    /// Records how long it took to load a model, or to connect to its server.
    pub fn model_loaded(&self, model: &ModelInfo, took: Duration) {
        let labels = [model.service(), model.name()];
        self.registry.gauge(&names::MODEL_LOAD, &labels).set(took.as_secs_f64());
    }

    /// Counts a refused comparison of vectors of different spaces. [`Metered`](crate::Metered) itself counts the texts
    /// that failed because of their space.
    pub fn space_mismatch(&self) {
        self.registry.counter(&names::SPACE_MISMATCHES, &[]).increment(1);
    }

    /// The recorder of an HTTP gateway.
    #[must_use]
    pub fn gateway(&self) -> GatewayMetrics {
        GatewayMetrics::new(&self.registry)
    }

    /// Makes this the recorder of the process, so that metrics which other crates record through the facade `metrics`
    /// are rendered here too, under their own names. Nothing in this workspace needs it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if the process has a recorder already. These metrics work nevertheless.
    pub fn install(&self) -> Result<()> {
        ::metrics::set_global_recorder(Arc::clone(&self.registry.recorder)).map_err(|_| {
            Error::new(
                ErrorKind::Config,
                "this process already has a recorder of metrics: install one and share it, or don't install these \
                 metrics, which then only lack those of other crates",
            )
        })
    }

    /// Copies the state of a gateway and its process.
    pub fn observe_gateway(&self, figures: &GatewayFigures) {
        let mut snapshot = self.registry().snapshot();
        snapshot.level(&names::GATEWAY_CONNECTIONS, &["open"], figures.connections as f64);
        snapshot.level(&names::GATEWAY_CONNECTIONS, &["limit"], figures.connection_limit as f64);
        snapshot.level(&names::GATEWAY_DRAINING, &[], f64::from(u8::from(figures.draining)));
        snapshot.count(&names::LOG_DROPPED, &[], figures.dropped_lines);
        snapshot.show();
    }

    /// Records the process's resource usage under Prometheus's standard names: `process_cpu_seconds_total`,
    /// `process_resident_memory_bytes`, `process_open_fds`, `process_max_fds`, `process_start_time_seconds` and so on.
    pub fn observe_process(&self) {
        ::metrics::with_local_recorder(&*self.registry().recorder, || {
            let collector = metrics_process::Collector::default();
            collector.describe();
            collector.collect();
        });
    }

    /// Copies the figures of a cache.
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

    /// Copies the figures of a router.
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

    /// Copies the states of all circuit breakers.
    pub fn observe_breakers(&self, breakers: &[BreakerFigures<'_>]) {
        let mut now = self.registry().snapshot();
        for breaker in breakers {
            now.level(&names::BREAKERS, &[breaker.part, breaker.state.as_str()], 1.0);
            now.count(&names::BREAKER_OPENINGS, &[breaker.part], breaker.openings);
        }
        now.show();
    }

    /// Copies the figures of Ollama clients, summed if there are several.
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

    /// Copies the figures of E5 engines, summed if there are several.
    pub fn observe_e5(&self, figures: &E5Figures) {
        let mut now = self.registry().snapshot();
        now.level(&names::E5_THREADS, &[], figures.threads as f64);
        now.count(&names::E5_PREFIXED, &[], figures.prefixed_texts);
        now.show();
    }

    pub(crate) fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}
