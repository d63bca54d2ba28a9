//! The docs' page is rendered from the table of metrics.

use std::fmt::Write as _;
use std::path::Path;

use embed_metrics::names::{Buckets, GROUPS, Label, MetricKind, OTHER, Values, all};

#[test]
fn metrics_page() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/metrics.md");
    embed_testkit::golden(path, "-p embed-metrics --test it metrics_page", &render());
}

fn render() -> String {
    let mut page = String::from(
        "# Metrics\n\n\
         Rendered from the table in `crates/embed-metrics/src/names.rs`; a test compares them. To write it anew, run\n\
         `EMBED_BLESS=1 cargo test -p embed-metrics --test it metrics_page`.\n\n\
         Every name begins with `tmws_`, unless `MetricsConfig::prefix` says otherwise. Every series is there from\n\
         the start, at zero, except where it says that it is left out. Labels have closed sets of values: what isn't in its set is `other`, so that no caller\n\
         can make a series, and no text of a user is ever in one. *Texts* are counted one by one, *calls* and\n\
         *requests* as often as they were made.\n\n\
         `docs/grafana/embed.json` is a dashboard over these metrics, `docs/prometheus/alerts.yml` has alerts.\n",
    );
    for group in GROUPS {
        let (title, about) = (group.title, group.about);
        // Writing to a string doesn't fail.
        let _ = write!(
            page,
            "\n## {title}\n\n{about}\n\n| metric | kind | unit | labels | what it says |\n|---|---|---|---|---|\n"
        );
        for metric in group.metrics {
            let kind = match metric.kind {
                MetricKind::Counter => "counter",
                MetricKind::Gauge => "gauge",
                MetricKind::Histogram(_) => "histogram",
            };
            let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{}`", label.name)).collect();
            let labels = if labels.is_empty() { "–".to_owned() } else { labels.join(", ") };
            let unit = if metric.unit.is_empty() { "–" } else { metric.unit };
            let _ =
                writeln!(page, "| `tmws_{}` | {kind} | {unit} | {labels} | {} |", metric.name, metric.help);
        }
    }
    labels(&mut page);
    buckets(&mut page);
    page
}

fn labels(page: &mut String) {
    page.push_str("\n## Labels\n\n| label | of | values |\n|---|---|---|\n");
    let mut seen: Vec<Label> = Vec::new();
    for label in all().flat_map(|metric| metric.labels) {
        if seen.contains(label) {
            continue;
        }
        seen.push(*label);
        let of: Vec<_> =
            all().filter(|metric| metric.labels.contains(label)).map(|metric| metric.name).collect();
        let of = match of.as_slice() {
            [first, _, _, _, ..] => format!("`{first}` and {} more", of.len() - 1),
            _ => of.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
        };
        let _ = writeln!(page, "| `{}` | {of} | {} |", label.name, values(label.values));
    }
}

fn values(values: Values) -> String {
    let open = |of: &str| format!("{of}, and `{OTHER}`");
    match values {
        Values::Fixed(values) => {
            values.iter().map(|value| format!("`{value}`")).collect::<Vec<_>>().join(", ")
        }
        Values::Services => open("the services of `MetricsConfig::models`"),
        Values::Models => open("the service's models in `MetricsConfig::models`"),
        Values::Routes => open("`MetricsConfig::routes`"),
        Values::Rules => open("`forced`, `pinned`, `MetricsConfig::rules`"),
        Values::Tiers => open("`MetricsConfig::tiers`"),
        Values::Parts => open("`MetricsConfig::parts`"),
        Values::Version => "the version".to_owned(),
        Values::Revision => "`MetricsConfig::revision`".to_owned(),
        Values::Kernels => "`MetricsConfig::kernels`: the instructions of models in the process".to_owned(),
    }
}

fn buckets(page: &mut String) {
    page.push_str("\n## Buckets\n\n| buckets | of | upper bounds | why |\n|---|---|---|---|\n");
    let mut seen: Vec<&Buckets> = Vec::new();
    for metric in all() {
        let MetricKind::Histogram(buckets) = metric.kind else { continue };
        if seen.contains(&buckets) {
            continue;
        }
        seen.push(buckets);
        let of: Vec<_> = all()
            .filter(|metric| metric.kind == MetricKind::Histogram(buckets))
            .map(|metric| format!("`{}`", metric.name))
            .collect();
        let bounds: Vec<_> = buckets.bounds.iter().map(f64::to_string).collect();
        let (of, bounds) = (of.join(", "), bounds.join(", "));
        let _ = writeln!(page, "| {} | {of} | {bounds} | {} |", buckets.name, buckets.reason);
    }
}
