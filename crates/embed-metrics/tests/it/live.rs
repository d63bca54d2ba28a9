//! A real Prometheus scrapes a service, and every query of the docs gives data.

use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use embed_metrics::Metrics;
use embed_testkit::require;
use promql_parser::parser;
use tokio::process::{Child, Command};
use tokio::sync::Mutex;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::{load, metrics, queries};

/// `host:port` of a service that runs already and has traffic, to be scraped at `/metrics` in place of made-up load.
const TARGET: &str = "EMBED_METRICS_TARGET";

/// Two scrapes a second apart are enough for a rate; the rest is for a machine that does something else.
const PATIENCE: Duration = Duration::from_secs(90);

#[tokio::test(flavor = "multi_thread")]
async fn every_query_gives_data() {
    let target = match std::env::var(TARGET) {
        Ok(target) if !target.is_empty() => target,
        _ => serve(metrics()).await,
    };
    let folder = tempfile::tempdir().unwrap();
    let Some((_prometheus, address)) = start(folder.path(), &target) else { return };

    let mut waiting: Vec<(String, String)> = Vec::new();
    for query in queries::all() {
        let exprs = if query.alert {
            queries::looked_at(&parser::parse(&query.expr).unwrap())
        } else {
            vec![query.expr]
        };
        waiting.extend(exprs.into_iter().map(|expr| (query.name.clone(), expr)));
    }
    let asked = waiting.len();
    let give_up = Instant::now() + PATIENCE;
    let mut pauses = interval(Duration::from_secs(1));
    pauses.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = String::new();
    while !waiting.is_empty() {
        assert!(Instant::now() < give_up, "{} of {asked} give nothing: {waiting:#?}\n{last}", waiting.len());
        pauses.tick().await;
        let mut still = Vec::new();
        for (name, expr) in waiting {
            match ask(&address, &expr).await {
                Ok(true) => {}
                Ok(false) => still.push((name, expr)),
                Err(error) => {
                    last = error;
                    still.push((name, expr));
                }
            }
        }
        waiting = still;
    }
}

/// A service whose every scrape finds a little more traffic.
async fn serve(metrics: Metrics) -> String {
    let load = Arc::new(Mutex::new(load::Load::new(&metrics)));
    let page = move || {
        let (load, metrics) = (Arc::clone(&load), metrics.clone());
        async move {
            load.lock().await.turn().await;
            ([(CONTENT_TYPE, Metrics::CONTENT_TYPE)], metrics.render())
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/metrics", get(page))).await });
    address.to_string()
}

/// A Prometheus that scrapes the target each second and goes by the rules of the docs. It ends with the test.
fn start(folder: &Path, target: &str) -> Option<(Child, String)> {
    let config = serde_json::json!({
        "global": { "scrape_interval": "1s", "evaluation_interval": "1s" },
        "rule_files": [queries::docs("prometheus/alerts.yml").canonicalize().unwrap()],
        "scrape_configs": [{ "job_name": "embed", "static_configs": [{ "targets": [target] }] }],
    });
    // JSON is YAML.
    std::fs::write(folder.join("prometheus.yml"), config.to_string()).unwrap();
    // Whoever takes the port in between makes Prometheus end and this test fail, with its words.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let mut command = Command::new("prometheus");
    command
        .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
        .arg(format!("--web.listen-address={address}"))
        .arg("--log.level=warn")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let prometheus = require("prometheus (Debian's package prometheus)", command.spawn())?;
    Some((prometheus, format!("http://{address}")))
}

/// Whether a query gives at least one number.
async fn ask(server: &str, expr: &str) -> Result<bool, String> {
    let mut command = Command::new("promtool");
    command.args(["query", "instant", "--format=json", server, expr]).kill_on_drop(true);
    let output = command.output().await.map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let samples: serde_json::Value =
        serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())?;
    let samples = samples.as_array().ok_or("the answer is no list")?;
    Ok(samples.iter().any(|sample| sample["value"][1].as_str().is_some_and(|value| value != "NaN")))
}
