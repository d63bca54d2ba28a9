//! The queries of the dashboard and of the rules.

use std::fs;
use std::path::PathBuf;

use promql_parser::parser::{self, Expr};
use serde_json::Value;

/// A query of `docs/`, and where it stands.
#[derive(Debug)]
pub struct Query {
    /// Such as `panel "Latency" A` or `alert EmbedSlow`.
    pub name: String,
    /// With Grafana's variables filled in as Grafana does for "all".
    pub expr: String,
    /// Whether it is the condition of an alert, which returns nothing on a healthy service.
    pub alert: bool,
}

impl Query {
    /// What returns numbers on a healthy service: the query, or the sides of an alert's comparison.
    ///
    /// # Panics
    ///
    /// If it is no PromQL.
    pub fn looks_at(&self) -> Vec<String> {
        if !self.alert {
            return vec![self.expr.clone()];
        }
        looked_at(&parser::parse(&self.expr).unwrap_or_else(|error| panic!("{}: {error}", self.name)))
    }
}

/// A file of the docs of this workspace.
pub fn docs(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(path)
}

/// Every query of dashboard and rules.
///
/// # Panics
///
/// If a file of the docs can't be read.
pub fn queries() -> Vec<Query> {
    let dashboard = dashboard();
    let mut queries = Vec::new();
    for panel in list(&dashboard["panels"]) {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let name = format!("panel {} {}", panel["title"], target["refId"]);
            queries.push(Query { name, expr: filled_in(text(&target["expr"])), alert: false });
        }
    }
    for rule in rules() {
        let alert = rule["alert"].is_string();
        let kind = if alert { "alert" } else { "record" };
        let name = format!("{kind} {}", text(&rule[kind]));
        queries.push(Query { name, expr: text(&rule["expr"]).to_owned(), alert });
    }
    queries
}

/// The dashboard.
///
/// # Panics
///
/// If it is missing or isn't JSON.
pub fn dashboard() -> Value {
    serde_json::from_str(&read("grafana/embed.json")).expect("the dashboard is JSON")
}

/// The recording rules and alerts of all groups.
///
/// # Panics
///
/// If the rules are missing or aren't YAML.
pub fn rules() -> Vec<Value> {
    let rules: Value = serde_yaml_ng::from_str(&read("prometheus/alerts.yml")).expect("the rules are YAML");
    list(&rules["groups"]).iter().flat_map(|group| list(&group["rules"])).cloned().collect()
}

fn read(path: &str) -> String {
    fs::read_to_string(docs(path)).unwrap_or_else(|error| panic!("docs/{path}: {error}"))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("no list: {value}"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

fn filled_in(query: &str) -> String {
    let query = query.replace("$__rate_interval", "1m").replace("$instance", ".*").replace("$service", ".*");
    assert!(!query.contains('$'), "a variable that the tests don't know: {query}");
    query
}

fn looked_at(expr: &Expr) -> Vec<String> {
    match expr {
        Expr::Paren(paren) => looked_at(&paren.expr),
        Expr::Binary(binary) if binary.op.is_comparison_operator() => looked_at(&binary.lhs),
        Expr::Binary(binary) if binary.op.is_set_operator() => {
            [looked_at(&binary.lhs), looked_at(&binary.rhs)].concat()
        }
        Expr::Call(call) if call.func.name == "absent" => {
            call.args.args.iter().map(ToString::to_string).collect()
        }
        other => vec![other.to_string()],
    }
}
