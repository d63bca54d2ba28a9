//! A real Prometheus, and the queries of `docs/`.

mod queries;

use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::require;

pub use queries::{Query, dashboard, docs, queries, rules};

/// Two scrapes, one second after the other, are enough for a rate; the rest is for a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// A Prometheus that scrapes one service each second and evaluates the rules of `docs/`. It ends when this is dropped.
#[derive(Debug)]
pub struct Prometheus {
    _process: Child,
    url: String,
    _folder: TempDir,
}

impl Prometheus {
    /// Starts one that scrapes `host:port` at `/metrics`; `None`, with a note that the test is left out, where it isn't
    /// installed.
    ///
    /// # Panics
    ///
    /// Where it must be installed ([`require`]), or there is no folder or port for it.
    pub fn require(target: &str) -> Option<Self> {
        let folder = TempDir::new().expect("a temporary folder");
        require("prometheus", Self::start(folder, target))
    }

    fn start(folder: TempDir, target: &str) -> std::io::Result<Self> {
        let file = folder.path().join("prometheus.yml");
        // JSON is YAML.
        std::fs::write(&file, config(target, &docs("prometheus/alerts.yml").canonicalize()?).to_string())?;
        // If another process takes the port in between, Prometheus ends and the test fails with its message.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--log.level=warn")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        Ok(Self { _process: command.spawn()?, url: format!("http://{address}"), _folder: folder })
    }

    /// Repeats every query of `docs/` until each has returned at least one number. An alert is queried without its
    /// comparison, since on a healthy service it returns nothing.
    ///
    /// # Panics
    ///
    /// If some still return nothing after a minute and a half; the message names them.
    pub async fn gives_data_to_every_query(&self) {
        self.gives_data_to_queries(|_| true).await;
    }

    /// [`gives_data_to_every_query`](Self::gives_data_to_every_query) for the queries that `asked` accepts.
    ///
    /// # Panics
    ///
    /// As that does.
    pub async fn gives_data_to_queries(&self, asked: impl Fn(&str) -> bool) {
        let all = queries().into_iter().flat_map(|query| {
            let exprs = query.looks_at();
            exprs.into_iter().map(move |expr| (query.name.clone(), expr))
        });
        let mut waiting: Vec<(String, String)> = all.filter(|(_, expr)| asked(expr)).collect();
        let (count, give_up) = (waiting.len(), Instant::now() + PATIENCE);
        let mut turns = interval(Duration::from_secs(1));
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last = String::new();
        while !waiting.is_empty() {
            let left = waiting.len();
            assert!(Instant::now() < give_up, "{left} of {count} give nothing: {waiting:#?}\n{last}");
            turns.tick().await;
            let mut still = Vec::new();
            for (name, expr) in waiting {
                match self.gives_data(&expr).await {
                    Ok(true) => continue,
                    Ok(false) => {}
                    Err(error) => last = error,
                }
                still.push((name, expr));
            }
            waiting = still;
        }
    }

    /// Whether a query returns at least one number.
    async fn gives_data(&self, expr: &str) -> Result<bool, String> {
        let mut command = Command::new("promtool");
        command.args(["query", "instant", "--format=json", &self.url, expr]).kill_on_drop(true);
        let output = command.output().await.map_err(|error| error.to_string())?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        let samples: Value = serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())?;
        let samples = samples.as_array().ok_or("the answer is no list")?;
        Ok(samples.iter().any(|sample| sample["value"][1].as_str().is_some_and(|value| value != "NaN")))
    }
}

fn config(target: &str, rules: &Path) -> Value {
    json!({
        "global": { "scrape_interval": "1s", "evaluation_interval": "1s" },
        "rule_files": [rules],
        "scrape_configs": [{ "job_name": "embed", "static_configs": [{ "targets": [target] }] }],
    })
}
