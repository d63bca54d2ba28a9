//! Every series exists from the start.

use embed_core::ErrorKind;
use embed_metrics::names::{self, MetricKind};
use embed_metrics::{Metrics, MetricsConfig};

use crate::{E5, Page, metrics};

#[test]
fn every_metric_is_there_and_zero() {
    let metrics = metrics();
    let page = Page::of(&metrics);
    assert_eq!(page.not_zero(), Vec::<&str>::new());
    let text = metrics.render();
    for metric in names::all() {
        let kind = match metric.kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram(_) => "histogram",
        };
        assert!(text.contains(&format!("# TYPE tmws_{} {kind}\n", metric.name)), "{}", metric.name);
        assert!(text.contains(&format!("# HELP tmws_{} {}\n", metric.name, metric.help)), "{}", metric.name);
    }
    let described = text.lines().filter(|line| line.starts_with("# TYPE")).count();
    assert_eq!(described, names::all().count(), "only metrics of the table");
}

#[test]
fn stable_names() {
    let page = Page::of(&metrics());
    page.get("embedding_requests_total", E5);
    page.get("embedding_latency_seconds_bucket", &format!(r#"{E5},le="0.05""#));
    page.get("embedding_cache_hits_total", r#"service="ollama""#);
    page.get("ollama_pool_size", "");
}

#[test]
fn series_are_few() {
    let series = Page::of(&metrics()).0.len();
    assert!((400..1200).contains(&series), "{series}");
}

#[test]
fn the_build_is_named() {
    let labels = format!(r#"version="{}",revision="abc123",kernels="none""#, env!("CARGO_PKG_VERSION"));
    assert_eq!(Page::of(&metrics()).get("build_info", &labels), 1.0);
}

#[test]
fn names_are_unique_and_their_tables_in_order() {
    let mut seen = std::collections::BTreeSet::new();
    for metric in names::all() {
        assert!(seen.insert(metric.name), "{} exists twice", metric.name);
        assert_eq!(metric.name.ends_with("_total"), metric.kind == MetricKind::Counter, "{}", metric.name);
        if let MetricKind::Histogram(buckets) = metric.kind {
            assert!(buckets.bounds.is_sorted_by(|a, b| a < b), "{}", buckets.name);
        }
    }
}

#[test]
fn the_prefix_is_a_setting() {
    let metrics = Metrics::new(MetricsConfig::default().with_prefix("my_search")).unwrap();
    let text = metrics.render();
    assert!(text.contains("my_search_ollama_pool_size 0\n") && !text.contains("tmws"));
    for bad in ["", "9lives", "a-b", "Tmws", "tmws_", "a b"] {
        let error = Metrics::new(MetricsConfig::default().with_prefix(bad)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("`prefix`"), "{error}");
    }
}

#[test]
fn a_label_without_a_value_is_refused() {
    let config = MetricsConfig::default;
    let empty = [
        ("models", config().with_model("e5", "")),
        ("routes", config().with_routes([""])),
        ("rules", config().with_rules(["kana", ""])),
        ("tiers", config().with_tiers([""])),
        ("parts", config().with_parts([""])),
        ("revision", config().with_revision("")),
    ];
    for (field, config) in empty {
        let error = Metrics::new(config).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(&format!("`{field}`")), "{error}");
    }
}
