//! `embed serve` under load, in a separate process: cached answers, requested by `wrk`, compared with a bare axum
//! handler that returns the same bytes; texts that no cache holds, compared with the engine without a gateway; and ten times as
//! many requests as can be answered.
//!
//! `cargo bench -p embed-cli --bench serve`; the model must be in the data folder (`embed models pull`). A word at the
//! end takes only the suites with it in their names: `… -- gateway/cached`, `… -- ollama`. As a test it is tiny and
//! checks the answers.

#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]
#![expect(clippy::print_stdout, reason = "a benchmark says what it measured")]

mod figures;
#[path = "../../tests/gateway/http.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod http;
mod overload;
#[path = "../../tests/gateway/serving.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod serving;
mod wrk;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use axum::Router;
use axum::http::header;
use axum::routing::post;
use embed_core::{EmbedRequest, Embedder, Role, Truncation};
use embed_encoder::{Encoder, EncoderConfig, Precision};
use embed_testkit::data::mixed_texts;
use embed_testkit::figures::quick_share;
use futures::future::join_all;
use hyper::body::Bytes;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use figures::{Figure, report};
use http::{Connection, Reply, ask, request};
use serving::{Serving, has_e5};

const UNCACHED: &str = "gateway/uncached-e5";
const CONNECTIONS: usize = 64;
const MODEL: &str = "multilingual-e5-small";
const TEXT: &str = "a text of a few words, as queries are";

/// How much is measured.
struct Effort {
    rounds: usize,
    /// That `wrk` asks one server in one round.
    seconds: u64,
    /// That are embedded in one round.
    texts: usize,
    /// It only has to be seen that all of it works.
    is_test: bool,
    /// What the names of the suites must have in them.
    filter: String,
}

impl Effort {
    fn from_args() -> Self {
        let has = |name: &str| std::env::args().any(|argument| argument == name);
        let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
        // `cargo bench` says so, `cargo test` doesn't; `--test` is criterion's word.
        if !has("--bench") || has("--test") {
            return Self { rounds: 1, seconds: 1, texts: 8, is_test: true, filter };
        }
        let (rounds, seconds, texts) = if quick_share().is_some() { (2, 1, 80) } else { (5, 3, 480) };
        Self { rounds, seconds, texts, is_test: false, filter }
    }

    fn wants(&self, suite: &str) -> bool {
        suite.contains(&self.filter)
    }
}

fn main() {
    if !has_e5() {
        return;
    }
    let effort = Effort::from_args();
    let runtime = Runtime::new().unwrap();
    // It logs as it does for people, a line for each request into a file.
    let serving =
        Serving::start(&["--service", "e5", "--precision", "int8"], &[("TMWS_LOG_FORMAT", "human")]);
    cached(&runtime, &serving, &effort);
    if effort.wants(UNCACHED) {
        uncached(&runtime, serving.url(), &effort);
    }
    drop(serving);
    if effort.wants(overload::SUITE) {
        overload::overload(&runtime, &effort);
    }
}

/// One text that is in the cache, again and again, over 64 connections.
fn cached(runtime: &Runtime, serving: &Serving, effort: &Effort) {
    let asked = [
        ("gateway/cached-float", "/v1/embeddings", json!({ "model": MODEL, "input": TEXT })),
        (
            "gateway/cached-base64",
            "/v1/embeddings",
            json!({ "model": MODEL, "input": TEXT, "encoding_format": "base64" }),
        ),
        ("gateway/cached-ollama", "/api/embed", json!({ "model": MODEL, "input": TEXT })),
    ];
    for (suite, path, body) in asked.into_iter().filter(|(suite, ..)| effort.wants(suite)) {
        let body = body.to_string();
        let url = |server: &str| format!("{server}{path}");
        let post = |server: &str| runtime.block_on(ask(server, request("POST", path, body.clone()))).unwrap();
        let answer = post(serving.url());
        assert_eq!(answer.status, 200, "{}", answer.text());
        let bare = runtime.block_on(bare(path, answer.body.clone()));
        assert_eq!(post(&bare).body, answer.body);
        if effort.is_test {
            // It is computed once, and after that it is the same.
            let (first, again) = (answer.json(), post(serving.url()).json());
            assert_eq!((&again["data"], &again["embeddings"]), (&first["data"], &first["embeddings"]));
        }
        if !effort.is_test && embed_testkit::require("wrk", wrk::find()).is_none() {
            return;
        }

        let mut theirs = Figure::baseline(suite, "bare axum", "requests/s");
        let mut ours = Figure::against(&theirs, "embed serve", Some(0.6));
        let tail = format!("{suite}-latency");
        let mut p50 = Figure::baseline(&tail, "embed serve, p50", "ms");
        let mut p99 = Figure::against(&p50, "embed serve, p99", Some(5.0));
        let rounds = if effort.is_test { 0 } else { effort.rounds };
        for _ in 0..rounds {
            for (figure, server) in [(&mut theirs, &*bare), (&mut ours, serving.url())] {
                let run = wrk::run(&url(server), &body, CONNECTIONS, effort.seconds);
                assert_eq!(run.failed, 0, "{run:?}");
                figure.samples.push(run.rate());
                figure.note("p50_ms", run.p50_ms());
                figure.note("p99_ms", run.p99_ms());
                if server == serving.url() {
                    p50.samples.push(run.p50_ms());
                    p99.samples.push(run.p99_ms());
                }
            }
        }
        if rounds > 0 {
            let note =
                format!("wrk, {CONNECTIONS} connections, {} s a round; {}", effort.seconds, load_average());
            report(&[&theirs, &ours], &note);
            report(&[&p50, &p99], &note);
        }
    }
}

/// A server that reads the body as any handler must, and returns these bytes. It ends with the runtime.
async fn bare(path: &str, bytes: Bytes) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let handler = move |_body: Bytes| {
        let bytes = bytes.clone();
        async move { ([(header::CONTENT_TYPE, "application/json")], bytes) }
    };
    let router = Router::new().route(path, post(handler));
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

/// Texts of all lengths that nobody asked for before: by the engine in one call, by the engine in a call for each,
/// and by the gateway in a request for each.
fn uncached(runtime: &Runtime, url: &str, effort: &Effort) {
    let config = EncoderConfig::default().with_precision(Precision::Int8);
    let engine = Encoder::load_blocking(config).unwrap();
    let mut whole = Figure::baseline(UNCACHED, "the engine, one call", "texts/s");
    let mut single = Figure::against(&whole, "the engine, 64 calls at once", None);
    let mut ours = Figure::against(&whole, "embed serve, 64 connections", Some(0.95));
    for round in 0..effort.rounds {
        let texts = mixed_texts(effort.texts);
        let texts: Vec<String> = texts.into_iter().map(|text| format!("{round} {text}")).collect();
        let timed = |figure: &mut Figure, work: &mut dyn FnMut()| {
            let started = Instant::now();
            work();
            figure.samples.push(texts.len() as f64 / started.elapsed().as_secs_f64());
        };
        let (mut expected, mut got) = (Vec::new(), Vec::new());
        timed(&mut whole, &mut || expected = runtime.block_on(in_one_call(&engine, &texts)));
        timed(&mut single, &mut || runtime.block_on(in_many_calls(&engine, &texts)));
        timed(&mut ours, &mut || got = runtime.block_on(over_http(url, &texts)));
        for (text, answer) in got {
            let expected = &expected[text];
            let answer: Vec<f32> =
                serde_json::from_value(answer.json()["data"][0]["embedding"].take()).unwrap();
            let cosine: f32 = expected.iter().zip(&answer).map(|(a, b)| a * b).sum();
            assert!(answer.len() == expected.len() && cosine > 0.9999, "text {text}: {cosine}");
        }
    }
    if !effort.is_test {
        let note = format!("{} texts a round, of 3 words to 9 articles; {}", effort.texts, load_average());
        report(&[&whole, &single, &ours], &note);
    }
}

async fn in_one_call(engine: &Encoder, texts: &[String]) -> Vec<Vec<f32>> {
    let response = engine.embed(asking(texts)).await.unwrap().into_complete().unwrap();
    response.rows().map(|row| row.unwrap().vector().to_vec()).collect()
}

async fn in_many_calls(engine: &Encoder, texts: &[String]) {
    let next = AtomicUsize::new(0);
    let caller = async || {
        while let Some(text) = texts.get(next.fetch_add(1, Ordering::Relaxed)) {
            engine.embed(asking([text])).await.unwrap().into_complete().unwrap();
        }
    };
    join_all((0..CONNECTIONS).map(|_| caller())).await;
}

/// The answers, each with the index of its text.
async fn over_http(url: &str, texts: &[String]) -> Vec<(usize, Reply)> {
    let next = AtomicUsize::new(0);
    let caller = async || {
        let mut connection = Connection::open(url).await.unwrap();
        let mut answers = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(text) = texts.get(index) else { return answers };
            let body = json!({ "model": MODEL, "input": text, "truncation": "end" }).to_string();
            let reply = connection.send(request("POST", "/v1/embeddings", body)).await.unwrap();
            assert_eq!(reply.status, 200, "{}", reply.text());
            answers.push((index, reply));
        }
    };
    join_all((0..CONNECTIONS).map(|_| caller())).await.into_iter().flatten().collect()
}

fn asking<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> EmbedRequest {
    let texts = texts.into_iter().map(|text| Arc::<str>::from(text.as_ref()));
    EmbedRequest::new(texts, Role::Document).with_truncation(Truncation::End)
}

/// How busy the machine was in the last minute, all processes together.
fn load_average() -> String {
    let averages = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    format!("load average {}", averages.split_whitespace().next().unwrap_or("unknown"))
}
