//! Two measurements that take one long run each: the client against a plain load generator on a real server,
//! and memory over 100,000 calls. Run as a test, both are tiny.

#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]
#![expect(clippy::print_stdout, reason = "a benchmark says what it measured")]

mod common;

use std::sync::Arc;
use std::time::Instant;

use embed_core::{EmbedRequest, Embedder, Role};
use embed_ollama::{OllamaConfig, OllamaEmbedder};
use embed_testkit::data::udhr_in;
use embed_testkit::ollama::{OllamaDouble, rig};

use common::bare_client;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    // Only `cargo bench` says so; `cargo test` runs it to see that it works.
    let tiny = !std::env::args().any(|argument| argument == "--bench");
    throughput(if tiny { 4 } else { 300 }, if tiny { 1 } else { 5 }).await;
    memory(if tiny { 200 } else { 100_000 }).await;
}

/// The request shape that suits 0.5.4 is one text in a request and one request at a time.
async fn throughput(count: usize, rounds: usize) {
    let Some(server) = rig::require("0.5.4") else {
        return;
    };
    let articles = udhr_in("en");
    let texts: Vec<String> = (0..count)
        .map(|i| format!("{i}. {}", articles[i % articles.len()].chars().take(400).collect::<String>()))
        .collect();
    let client = OllamaEmbedder::connect(OllamaConfig::new("all-minilm", server.url())).await.unwrap();
    let bare = bare_client();
    let url = format!("{}/api/embed", server.url());
    // The options are those of the client, or each change would load the model anew.
    let options = serde_json::json!({ "num_ctx": 512 });
    let (mut by_client, mut by_generator) = (0.0_f64, 0.0_f64);
    // In turns, so that both see the same moods of the machine; the best of the rounds counts.
    for round in 0..rounds {
        let began = Instant::now();
        for text in &texts {
            let body = serde_json::json!({
                "model": "all-minilm", "input": [text], "truncate": false, "keep_alive": 1800, "options": options,
            });
            let request = bare.post(&url).header("content-type", "application/json");
            let response = request.body(body.to_string()).send().await.unwrap();
            assert!(response.status().is_success());
            response.bytes().await.unwrap();
        }
        let generator = count as f64 / began.elapsed().as_secs_f64();
        let began = Instant::now();
        let request = EmbedRequest::new(texts.iter().map(String::as_str), Role::Document);
        let response = client.embed(request).await.unwrap();
        assert_eq!(response.errors().count(), 0);
        let client = count as f64 / began.elapsed().as_secs_f64();
        println!("round {round}: generator {generator:.1} texts/s, client {client:.1} texts/s");
        by_client = by_client.max(client);
        by_generator = by_generator.max(generator);
    }
    println!(
        "throughput: client {by_client:.1} texts/s of the generator's {by_generator:.1}: {:.3}",
        by_client / by_generator
    );
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
