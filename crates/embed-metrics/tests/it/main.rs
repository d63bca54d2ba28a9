//! Metrics as Prometheus sees them.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod closed_sets;
mod events;
mod figures;
mod gateway;
mod install;
mod live;
mod load;
mod metered;
mod metrics_page;
mod promtool;
mod queries;
mod zero;

use std::collections::BTreeMap;

use embed_core::{ModelInfo, PrefixScheme, Space, Variant};
use embed_metrics::{Metrics, MetricsConfig};
use embed_testkit::Scripted;

fn config() -> MetricsConfig {
    MetricsConfig::default()
        .with_model("ollama", "all-minilm")
        .with_model("e5", "multilingual-e5-small")
        .with_routes(["ollama", "e5"])
        .with_rules(["kana", "latin"])
        .with_parts(["route_ollama", "route_e5", "tier_redis"])
        .with_revision("abc123")
}

fn metrics() -> Metrics {
    Metrics::new(config()).unwrap()
}

fn model(service: &str, name: &str) -> ModelInfo {
    let space = Space::builder(name, 16).prefixes(PrefixScheme::QueryPassage).build();
    ModelInfo::builder(service, name, Variant::new(space, [("digest", "1")])).max_tokens(32).build()
}

fn e5() -> Scripted {
    Scripted::of_model(model("e5", "multilingual-e5-small"))
}

fn ollama() -> Scripted {
    Scripted::of_model(model("ollama", "all-minilm"))
}

const E5: &str = r#"service="e5",model="multilingual-e5-small""#;
const OLLAMA: &str = r#"service="ollama",model="all-minilm""#;

/// The values of a page's series, by name and labels as on the page.
struct Page(BTreeMap<String, f64>);

impl Page {
    fn of(metrics: &Metrics) -> Self {
        let page = metrics.render();
        let series = page.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        let parsed = series.map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        });
        Self(parsed.collect())
    }

    #[track_caller]
    fn get(&self, name: &str, labels: &str) -> f64 {
        let series =
            if labels.is_empty() { format!("tmws_{name}") } else { format!("tmws_{name}{{{labels}}}") };
        *self.0.get(&series).unwrap_or_else(|| panic!("{series} is missing"))
    }

    /// All series that aren't zero, except the one that never is.
    fn not_zero(&self) -> Vec<&str> {
        let used = self.0.iter().filter(|(name, value)| **value != 0.0 && !name.contains("build_info"));
        used.map(|(name, _)| name.as_str()).collect()
    }
}
