//! What was measured, as a table and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::load::{BenchLoad, LoadMeasurement};

/// The service that is in another process.
pub(super) const REMOTE: &str = "remote";

/// Times in milliseconds, rates a second.
#[derive(Debug, Serialize)]
pub(super) struct BenchReport<'m> {
    service: &'m str,
    model: &'m str,
    concurrency: usize,
    batch: usize,
    seconds: f64,
    requests: u64,
    requests_per_second: f64,
    texts: u64,
    texts_per_second: f64,
    /// Left out if a service doesn't report it.
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens_per_second: Option<f64>,
    latency_ms: Latency,
    /// `None` if it isn't known: a gateway doesn't report whether a vector was cached.
    hit_rate: Option<f64>,
    texts_by_service: BTreeMap<&'m str, u64>,
    failed: BTreeMap<&'m str, u64>,
}

#[derive(Debug, Serialize)]
struct Latency {
    mean: f64,
    p50: f64,
    p95: f64,
    p99: f64,
    max: f64,
}

impl<'m> BenchReport<'m> {
    pub(super) fn new(
        service: &'m str,
        load: &'m BenchLoad,
        measured: &'m LoadMeasurement,
        has_cache: bool,
    ) -> Self {
        let seconds = measured.elapsed.as_secs_f64().max(1e-6);
        let per_second = |count: u64| count as f64 / seconds;
        let model = load.embedder.model();
        Self {
            service,
            model: model.name(),
            concurrency: load.callers,
            batch: load.batch,
            seconds,
            requests: measured.requests,
            requests_per_second: per_second(measured.requests),
            texts: measured.texts,
            texts_per_second: per_second(measured.texts),
            tokens_per_second: measured.tokens.map(per_second),
            latency_ms: Latency {
                mean: measured.latency.mean() / 1000.0,
                p50: measured.quantile_ms(0.5),
                p95: measured.quantile_ms(0.95),
                p99: measured.quantile_ms(0.99),
                max: measured.latency.max() as f64 / 1000.0,
            },
            hit_rate: has_cache.then(|| measured.hit_rate()),
            texts_by_service: measured.by_service.iter().map(|(name, count)| (&**name, *count)).collect(),
            failed: measured.failed.iter().map(|(kind, count)| (*kind, *count)).collect(),
        }
    }

    pub(super) fn json(&self) -> String {
        // A struct of numbers and strings can be written.
        serde_json::to_string(self).unwrap_or_default() + "\n"
    }

    pub(super) fn table(&self) -> String {
        let Self { latency_ms: Latency { mean, p50, p95, p99, max }, .. } = self;
        let mut page = String::new();
        let mut line = |name: &str, value: String| {
            let _ = writeln!(page, "{name:<12}{value}");
        };
        line("service", format!("{}, {}", self.service, self.model));
        let texts = if self.batch == 1 { "text" } else { "texts" };
        line(
            "load",
            format!(
                "{} at a time, {} {texts} in a request, {:.1} s",
                self.concurrency, self.batch, self.seconds
            ),
        );
        line("latency", format!("mean {mean:.2} ms, p50 {p50:.2}, p95 {p95:.2}, p99 {p99:.2}, max {max:.2}"));
        line("requests", format!("{:.1}/s, {} in all", self.requests_per_second, self.requests));
        let tokens = self.tokens_per_second.map_or(String::new(), |tokens| format!(", {tokens:.0} tokens/s"));
        line("texts", format!("{:.1}/s{tokens}", self.texts_per_second));
        line(
            "hit rate",
            match self.hit_rate {
                Some(rate) => format!("{:.1} %", rate * 100.0),
                None if self.service == REMOTE => "unknown; the gateway's /metrics has it".to_owned(),
                None => "no cache".to_owned(),
            },
        );
        if self.texts_by_service.len() > 1 {
            line("by service", list(&self.texts_by_service));
        }
        let failed: u64 = self.failed.values().sum();
        let kinds = if failed == 0 { String::new() } else { format!(" ({})", list(&self.failed)) };
        line("failed", format!("{failed} texts{kinds}"));
        page
    }
}

fn list(counts: &BTreeMap<&str, u64>) -> String {
    counts.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
}
