//! The queries of the dashboard and the rules use only metrics and labels of the table.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use embed_metrics::names::{self, MetricKind, Values};
use embed_testkit::prometheus::{Query, dashboard, docs, queries, rules};
use promql_parser::label::{MatchOp, Matcher};
use promql_parser::parser::{self, Expr, LabelModifier, VectorSelector};

#[test]
fn every_query_uses_existing_metrics() {
    let recorded: BTreeSet<_> =
        queries().iter().filter_map(|query| Some(query.name.strip_prefix("record ")?.to_owned())).collect();
    let mut asked = BTreeSet::new();
    for Query { name, expr, .. } in queries() {
        let parsed = parser::parse(&expr).unwrap_or_else(|error| panic!("{name}: {error}"));
        check(&name, &parsed, &recorded, &mut asked);
    }
    let all: BTreeSet<_> = names::all().map(|metric| metric.name.to_owned()).collect();
    let forgotten: Vec<_> = all.difference(&asked).collect();
    // Other panels show these too: truncations of back ends are those of callers without the cached ones.
    assert_eq!(
        forgotten,
        ["backend_requests_total", "backend_truncations_total"],
        "metrics that no query uses"
    );
}

/// Checks each selector, and that labels which are grouped by exist.
fn check(name: &str, expr: &Expr, recorded: &BTreeSet<String>, asked: &mut BTreeSet<String>) {
    let mut inner = |expr: &Expr| check(name, expr, recorded, asked);
    match expr {
        Expr::Aggregate(aggregate) => {
            inner(&aggregate.expr);
            if let Some(LabelModifier::Include(labels)) = &aggregate.modifier {
                let there = labels_of(&aggregate.expr);
                for label in &labels.labels {
                    assert!(
                        there.contains(label.as_str()),
                        "{name} groups by {label}, which no series inside has"
                    );
                }
            }
        }
        Expr::Unary(unary) => inner(&unary.expr),
        Expr::Binary(binary) => {
            inner(&binary.lhs);
            inner(&binary.rhs);
        }
        Expr::Paren(paren) => inner(&paren.expr),
        Expr::Subquery(subquery) => inner(&subquery.expr),
        Expr::Call(call) => call.args.args.iter().for_each(|arg| inner(arg)),
        Expr::MatrixSelector(matrix) => check_selector(name, &matrix.vs, recorded, asked),
        Expr::VectorSelector(selector) => check_selector(name, selector, recorded, asked),
        Expr::NumberLiteral(_) | Expr::StringLiteral(_) => {}
        Expr::Extension(_) => panic!("{name} has syntax that Prometheus doesn't know"),
    }
}

fn check_selector(
    name: &str,
    selector: &VectorSelector,
    recorded: &BTreeSet<String>,
    asked: &mut BTreeSet<String>,
) {
    let metric = selector.name.as_deref().unwrap_or_else(|| panic!("{name} has a selector without a name"));
    if recorded.contains(metric) {
        return;
    }
    let labels =
        labels_of_metric(metric).unwrap_or_else(|| panic!("{name} uses {metric}, which doesn't exist"));
    for Matcher { name: label, op, value } in &selector.matchers.matchers {
        let values =
            labels.get(label.as_str()).unwrap_or_else(|| panic!("{name}: {metric} has no label {label}"));
        let Some(Values::Fixed(values)) = values else { continue };
        let wanted: Vec<&str> = match op {
            MatchOp::Equal | MatchOp::NotEqual => vec![value],
            MatchOp::Re(_) | MatchOp::NotRe(_) if value == ".*" => vec![],
            MatchOp::Re(_) | MatchOp::NotRe(_) => value.split('|').collect(),
        };
        for value in wanted {
            assert!(values.contains(&value), "{name}: {label} of {metric} is never {value}");
        }
    }
    asked.insert(base_name(metric).to_owned());
}

/// The labels of everything inside.
fn labels_of(expr: &Expr) -> BTreeSet<String> {
    match expr {
        Expr::Aggregate(aggregate) => match &aggregate.modifier {
            Some(LabelModifier::Include(labels)) => labels.labels.iter().cloned().collect(),
            _ => BTreeSet::new(),
        },
        Expr::Unary(unary) => labels_of(&unary.expr),
        Expr::Binary(binary) => labels_of(&binary.lhs),
        Expr::Paren(paren) => labels_of(&paren.expr),
        Expr::Subquery(subquery) => labels_of(&subquery.expr),
        Expr::Call(call) => call.args.args.iter().flat_map(|arg| labels_of(arg)).collect(),
        Expr::MatrixSelector(matrix) => selector_labels(&matrix.vs),
        Expr::VectorSelector(selector) => selector_labels(selector),
        _ => BTreeSet::new(),
    }
}

fn selector_labels(selector: &VectorSelector) -> BTreeSet<String> {
    let labels = selector.name.as_deref().and_then(labels_of_metric).unwrap_or_default();
    labels.into_keys().map(ToOwned::to_owned).collect()
}

/// The labels of a series and their sets; the set is `None` for labels that a scrape or buckets add.
fn labels_of_metric(name: &str) -> Option<BTreeMap<&'static str, Option<Values>>> {
    let base = base_name(name);
    let metric = names::all().find(|metric| metric.name == base)?;
    let in_buckets = matches!(metric.kind, MetricKind::Histogram(_));
    // Only a histogram has buckets, and it has no series with its bare name.
    if in_buckets == name.ends_with(base) {
        return None;
    }
    let mut labels: BTreeMap<_, _> =
        metric.labels.iter().map(|label| (label.name, Some(label.values))).collect();
    labels.insert("instance", None);
    if name.ends_with("_bucket") {
        labels.insert("le", None);
    }
    Some(labels)
}

/// The name in the table.
fn base_name(series: &str) -> &str {
    let name = series.strip_prefix("tmws_").unwrap_or_default();
    ["_bucket", "_sum", "_count"]
        .into_iter()
        .find_map(|suffix| name.strip_suffix(suffix))
        .filter(|base| names::all().any(|metric| metric.name == *base))
        .unwrap_or(name)
}

#[test]
fn alerts_say_what_to_do() {
    let tests = fs::read_to_string(docs("prometheus/alerts_test.yml")).unwrap();
    for rule in rules().into_iter().filter(|rule| rule["alert"].is_string()) {
        let name = rule["alert"].as_str().unwrap();
        assert!(["page", "ticket", "info"].contains(&rule["labels"]["severity"].as_str().unwrap()), "{name}");
        assert!(
            rule["annotations"]["summary"].is_string() && rule["annotations"]["description"].is_string(),
            "{name}"
        );
        assert!(tests.contains(&format!("alertname: {name}\n")), "{name} has no test in alerts_test.yml");
    }
}

#[test]
fn panels_stand_side_by_side() {
    let dashboard = dashboard();
    let mut ids = BTreeSet::new();
    let mut taken = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()));
        let at = |field: &str| panel["gridPos"][field].as_u64().unwrap();
        for x in at("x")..at("x") + at("w") {
            assert!(x < 24);
            for y in at("y")..at("y") + at("h") {
                assert!(taken.insert((x, y)), "{} overlaps another panel", panel["title"]);
            }
        }
        if panel["type"] != "row" {
            assert!(!panel["description"].as_str().unwrap().is_empty(), "{}", panel["title"]);
            assert_eq!(panel["datasource"]["uid"], "${datasource}");
        }
    }
}
