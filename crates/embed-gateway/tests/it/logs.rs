//! The log has the facts of a request and no texts.

use std::io;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::http::Request;
use embed_gateway::{ApiKey, Limits};
use tracing::instrument::WithSubscriber;
use tracing_subscriber::fmt::MakeWriter;

use crate::client::{config, over, router, send};
use crate::double::Double;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn a_request_is_one_line_with_facts_and_without_texts() {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(lines.clone())
        .finish();
    async {
        for (path, body) in [
            ("/v1/embeddings", r#"{"model":"double","input":["cached","my secret words"]}"#),
            ("/v1/embeddings", r#"{"model":"secret","input":"x"}"#),
            ("/v1/embeddings", r#"{"model":"double","input":["my secret words",""]}"#),
            ("/api/embed", r#"{"model":"double","input":"secret"#),
            ("/embed", r#"{"inputs":"crash","secret":1}"#),
            ("/secret", "secret"),
        ] {
            let request = Request::post(path).header("x-request-id", "id-7").header("x-api-key", "secret");
            send(&router(), request.body(Body::from(body)).unwrap()).await;
        }
    }
    .with_subscriber(subscriber)
    .await;
    let lines = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert!(!lines.contains("secret"), "{lines}");
    let embedded = lines.lines().find(|line| line.contains("embedded")).expect("an answer has its line");
    for fact in [
        "service=\"double\"",
        "model=\"double\"",
        "space=\"double/mean/query-passage/l2/16\"",
        "rows=2",
        "text_bytes=21",
        "cache_hits=1",
        "request_id=\"id-7\"",
        "status=200",
        "latency_ms=",
    ] {
        assert!(embedded.contains(fact), "{fact} is missing: {embedded}");
    }
    let failed = lines.lines().find(|line| line.contains("failed")).expect("a failure has its line");
    assert!(failed.contains("WARN") && failed.contains("10.0.0.9"), "the log names the server: {failed}");
}

/// After abuse, the log has the key, the address, the request, and the limit that refused it.
#[tokio::test]
async fn the_log_identifies_callers_and_requests() {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_ansi(false)
        .with_writer(lines.clone())
        .finish();
    let keys = [ApiKey::new("first", "hush-1"), ApiKey::new("alice", "hush-2")];
    let limits = Limits::default().with_bytes(1000, 5000).with_rows(3);
    let router = over(Double::new(), config().with_api_keys(keys).with_limits(limits));
    let large = format!(r#"{{"model":"double","input":"{}"}}"#, "x".repeat(2000));
    async {
        for (key, body) in [
            ("hush-2", r#"{"model":"double","input":["one two","three"]}"#),
            ("hush-3", "{}"),
            ("hush-1", r#"{"model":"double","input":["a","b","c","d"]}"#),
            ("hush-1", &large),
        ] {
            let request = Request::post("/v1/embeddings")
                .header("authorization", format!("Bearer {key}"))
                .header("content-length", body.len())
                .header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
            send(&router, request.body(Body::from(body.to_owned())).unwrap()).await;
        }
        let request = Request::get("/v1/models/who?secret=1").header("x-api-key", "hush-2");
        send(&router, request.body(Body::empty()).unwrap()).await;
    }
    .with_subscriber(subscriber)
    .await;
    let log = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert!(!log.contains("hush") && !log.contains("secret"), "{log}");
    let said = |what: &str, facts: &[&str]| {
        let is_it = |line: &&str| line.contains(what) && facts.iter().all(|fact| line.contains(fact));
        assert!(log.lines().any(|line| is_it(&line)), "{what} with {facts:?} is missing: {log}");
    };
    said(
        "embedded",
        &[
            "key=\"alice\"",
            "method=\"POST\"",
            "path=\"/v1/embeddings\"",
            "model=\"double\"",
            "rows=2",
            "tokens=7",
            "bytes_in=46",
            "bytes_out=",
            "trace_id=\"4bf92f3577b34da6a3ce929d0e0e4736\"",
        ],
    );
    said("refused", &["code=\"unauthorized\"", "limit=\"key\""]);
    said("refused", &["key=\"first\"", "limit=\"rows\""]);
    said("refused", &["key=\"first\"", "limit=\"body_bytes\"", "bytes_in=2"]);
    said("refused", &["key=\"alice\"", "method=\"GET\"", "path=\"/v1/models/{*id}\""]);
}
