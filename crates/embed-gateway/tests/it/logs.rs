//! What is logged, and that no text is.

use std::io;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::http::Request;
use tracing::instrument::WithSubscriber;
use tracing_subscriber::fmt::MakeWriter;

use crate::client::{router, send};

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
    assert!(failed.contains("WARN") && failed.contains("10.0.0.9"), "the log says where: {failed}");
}
