//! Measurements that take one long run each: the client against a plain load generator on a real server, in
//! throughput and in latency, and memory over 100,000 calls. Run as a test, all are tiny.

#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]
#![expect(clippy::print_stdout, reason = "a benchmark says what it measured")]

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use embed_core::{EmbedRequest, Embedder, Role};
use embed_ollama::{OllamaConfig, OllamaEmbedder};
use embed_testkit::data::udhr_in;
use embed_testkit::figures;
use embed_testkit::ollama::OllamaDouble;
use embed_testkit::ollama::rig::{self, RealServer};
use serde_json::json;

use common::bare_client;

/// How much is measured.
struct Effort {
    texts: usize,
    queries: usize,
    rounds: usize,
    calls: usize,
}

impl Effort {
    fn asked() -> Self {
        // Only `cargo bench` says so; `cargo test` runs it to see that it works.
        if !std::env::args().any(|argument| argument == "--bench") {
            Self { texts: 4, queries: 2, rounds: 1, calls: 200 }
        } else if figures::quick_share().is_some() {
            Self { texts: 16, queries: 30, rounds: 2, calls: 2_000 }
        } else {
            Self { texts: 150, queries: 200, rounds: 5, calls: 100_000 }
        }
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let effort = Effort::asked();
    if let Some(server) = rig::require("0.5.4") {
        let sides = Sides::new(&server).await;
        throughput(&sides, &effort).await;
        latency(&sides, &effort).await;
    }
    memory(effort.calls).await;
}

/// The client, and a plain load generator: the request shape that suits 0.5.4 is one text in a request and one
/// request at a time.
struct Sides {
    client: OllamaEmbedder,
    bare: reqwest::Client,
    url: String,
}

impl Sides {
    async fn new(server: &RealServer) -> Self {
        let client = OllamaEmbedder::connect(OllamaConfig::new("all-minilm", server.url())).await.unwrap();
        Self { client, bare: bare_client(), url: format!("{}/api/embed", server.url()) }
    }

    /// One request of the generator, with its vector looked at, so that no failure is ever measured as an answer.
    async fn generate(&self, text: &str) {
        // The options are those of the client, or each change would load the model anew.
        let options = json!({ "num_ctx": 512 });
        let body = json!({
            "model": "all-minilm", "input": [text], "truncate": false, "keep_alive": 1800, "options": options,
        });
        let request = self.bare.post(&self.url).header("content-type", "application/json");
        let response = request.body(body.to_string()).send().await.unwrap();
        assert!(response.status().is_success());
        assert!(response.bytes().await.unwrap().len() > 384 * 4, "an answer without a vector");
    }

    /// One call of the client.
    async fn embed<'t>(&self, texts: impl IntoIterator<Item = &'t str>) {
        let request = EmbedRequest::new(texts, Role::Document);
        let response = self.client.embed(request).await.unwrap().into_complete().unwrap();
        assert_eq!(response.row(0).unwrap().vector().len(), 384);
    }
}

/// Texts a second. In turns, so that both see the same moods of the machine.
async fn throughput(sides: &Sides, effort: &Effort) {
    let articles = udhr_in("en");
    let text =
        |i: usize| format!("{i}. {}", articles[i % articles.len()].chars().take(400).collect::<String>());
    let texts: Vec<String> = (0..effort.texts).map(text).collect();
    let (mut by_client, mut by_generator) = (Vec::new(), Vec::new());
    for round in 0..effort.rounds {
        let began = Instant::now();
        for text in &texts {
            sides.generate(text).await;
        }
        let generator = texts.len() as f64 / began.elapsed().as_secs_f64();
        let began = Instant::now();
        sides.embed(texts.iter().map(String::as_str)).await;
        let client = texts.len() as f64 / began.elapsed().as_secs_f64();
        println!("round {round}: generator {generator:.1} texts/s, client {client:.1} texts/s");
        by_client.push(client);
        by_generator.push(generator);
    }
    let (suite, unit, better) = ("ollama/passages of 400 characters, 0.5.4", "texts/s", "higher");
    let lines = [
        json!({"suite": suite, "name": "plain load generator", "unit": unit, "better": better, "role": "limit",
            "baseline": true, "samples": by_generator, "note": "what this server can do at all"}),
        json!({"suite": suite, "name": "embed-ollama", "unit": unit, "better": better, "role": "ours",
            "samples": by_client, "target": {"against": "plain load generator", "at_least": 0.97}}),
    ];
    figures::append(&lines).unwrap();
}

/// Milliseconds of a short text, one at a time.
async fn latency(sides: &Sides, effort: &Effort) {
    let query = |i: usize| format!("database query optimization {i}");
    let (mut by_client, mut by_generator) = (Percentiles::default(), Percentiles::default());
    for _ in 0..effort.rounds {
        let (mut client, mut generator) = (Vec::new(), Vec::new());
        for i in 0..effort.queries {
            let text = query(i);
            let began = Instant::now();
            sides.generate(&text).await;
            generator.push(began.elapsed());
            let began = Instant::now();
            sides.embed([text.as_str()]).await;
            client.push(began.elapsed());
        }
        by_client.add(client);
        by_generator.add(generator);
    }
    let (suite, unit, better) = ("ollama/short texts, one at a time, 0.5.4", "ms", "lower");
    let lines = [
        json!({"suite": suite, "name": "plain load generator", "unit": unit, "better": better, "role": "limit",
            "baseline": true, "samples": by_generator.p50, "extra": by_generator.extra(), "note": "p50"}),
        json!({"suite": suite, "name": "embed-ollama", "unit": unit, "better": better, "role": "ours",
            "samples": by_client.p50, "extra": by_client.extra(), "note": "p50",
            "target": {"of": "p95_ms", "at_most": 50}}),
    ];
    println!(
        "short texts, p50 of each round: generator {:?} ms, client {:?} ms",
        by_generator.p50, by_client.p50
    );
    figures::append(&lines).unwrap();
}

/// Milliseconds: the middle of each round, and the tail of all.
#[derive(Default)]
struct Percentiles {
    p50: Vec<f64>,
    all: Vec<f64>,
}

impl Percentiles {
    fn add(&mut self, round: Vec<Duration>) {
        let mut times: Vec<f64> = round.iter().map(|time| time.as_secs_f64() * 1e3).collect();
        self.p50.push(at(&mut times, 0.50));
        self.all.extend(times);
    }

    fn extra(&mut self) -> serde_json::Value {
        json!({ "p95_ms": at(&mut self.all, 0.95), "p99_ms": at(&mut self.all, 0.99) })
    }
}

/// The time below which such a share of them lies.
fn at(times: &mut [f64], share: f64) -> f64 {
    times.sort_by(f64::total_cmp);
    times[((times.len() - 1) as f64 * share).round() as usize]
}

async fn memory(calls: usize) {
    let double = OllamaDouble::start("0.12.11").await;
    let client =
        Arc::new(OllamaEmbedder::connect(OllamaConfig::new("all-minilm", double.url())).await.unwrap());
    let began = Instant::now();
    let mut marks = Vec::new();
    let part = (calls / 10).max(1);
    for tenth in 0..10 {
        for call in 0..part {
            let text = format!("text {call} of part {tenth}");
            let request = EmbedRequest::new([text], Role::Document);
            client.embed(request).await.unwrap().into_complete().unwrap();
        }
        // The double remembers every request, which isn't the client's memory.
        double.forget();
        marks.push(resident_kib());
    }
    let seconds = began.elapsed().as_secs_f64();
    println!("memory: {calls} calls in {seconds:.1} s; resident after each tenth, in KiB: {marks:?}");
    if calls >= 100_000 {
        let (first, last) = (marks[1], marks[9]);
        assert!(last <= first + 2048, "memory grew from {first} to {last} KiB");
    }
}

/// Pages of this process that are in memory; 0 where the system doesn't say it this way.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.unwrap_or(0)
}
