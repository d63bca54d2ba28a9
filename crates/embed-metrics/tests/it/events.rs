//! Events for `tracing`: figures, never a text.

use std::io;
use std::sync::{Arc, Mutex};

use embed_core::{EmbedRequest, Embedder, EmbedderExt, Error, ErrorKind, Role};
use embed_metrics::Metered;
use tracing::Level;
use tracing_subscriber::fmt;

use crate::{e5, metrics};

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The lines logged from a level on while two calls are made, one of which fails.
async fn logged(level: Level) -> Vec<String> {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber =
        fmt().with_max_level(level).with_ansi(false).with_writer(move || writer.clone()).finish();
    let guard = tracing::subscriber::set_default(subscriber);
    let metrics = metrics();
    let inner = e5();
    let service = Metered::new(Metered::backend(inner.clone(), &metrics), &metrics);
    let request = EmbedRequest::new(["my secret", ""], Role::Query).with_partition("tenant-7");
    let outside = tracing::info_span!("request", id = "r-17");
    let entered = outside.enter();
    service.embed(request).await.unwrap();
    inner.fail_calls(Some(Error::new(ErrorKind::Unavailable, "the server is gone")));
    service.encode_query("my secret").await.unwrap_err();
    drop(entered);
    drop(guard);
    let bytes = lines.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap().lines().map(ToOwned::to_owned).collect()
}

#[tokio::test]
async fn a_call_is_an_event_with_figures_and_no_text() {
    let lines = logged(Level::INFO).await;
    assert_eq!(lines.len(), 2, "{lines:#?}");
    for part in [
        "INFO",
        "request{id=\"r-17\"}:embed{texts=2 text_length=9}",
        "embedded",
        "service=\"e5\"",
        "model=\"multilingual-e5-small\"",
        "space=\"multilingual-e5-small/mean/query-passage/l2/16\"",
        "cache_hits=0",
        "failed=1",
        "latency_ms=",
    ] {
        assert!(lines[0].contains(part), "no {part} in {}", lines[0]);
    }
    for part in ["WARN", "not embedded", "kind=\"unavailable\"", "error=the server is gone", "texts=1"] {
        assert!(lines[1].contains(part), "no {part} in {}", lines[1]);
    }
    assert!(!lines.concat().contains("secret"));
}

#[tokio::test]
async fn back_ends_log_at_debug() {
    let lines = logged(Level::DEBUG).await;
    assert_eq!(lines.len(), 4, "{lines:#?}");
    assert!(lines[0].contains("embed{texts=2 text_length=9}:backend{texts=2 text_length=9}"), "{}", lines[0]);
    assert!(lines[2].contains("DEBUG") && lines[2].contains("kind=\"unavailable\""), "{}", lines[2]);
    assert!(!lines.concat().contains("secret"));
}
