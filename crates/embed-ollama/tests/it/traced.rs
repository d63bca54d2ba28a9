//! What a caller's request is called goes on to the server, on every way that a text may take.

use embed_core::{Embedder, TraceContext, Truncation};
use embed_testkit::ollama::{Fault, OllamaDouble};

use crate::{config, connect, quick, request};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn trace() -> TraceContext {
    TraceContext::new()
        .with_traceparent(PARENT)
        .with_tracestate("rojo=1,congo=2")
        .with_request_id("a-request")
}

fn embeds(double: &OllamaDouble) -> Vec<[Option<String>; 3]> {
    let requests = double.requests();
    let requests = requests.iter().filter(|request| request.path.starts_with("/api/embed"));
    requests
        .map(|request| {
            ["traceparent", "tracestate", "x-request-id"].map(|name| request.header(name).map(str::to_owned))
        })
        .collect()
}

#[tokio::test]
async fn a_server_gets_the_trace_and_the_id_of_the_request() {
    // The route of before 0.2.6, texts one by one, and batches.
    for version in ["0.2.0", "0.5.4", "0.9.3"] {
        let double = OllamaDouble::start(version).await;
        let embedder = connect(config(&double)).await;
        // What no caller asked for is in nobody's trace.
        assert!(embeds(&double).iter().flatten().all(Option::is_none), "{version}");
        double.forget();
        embedder.embed(request(&["a river", "a lake"]).with_trace(trace())).await.unwrap();
        let expected = [PARENT, "rojo=1,congo=2", "a-request"].map(|value| Some(value.to_owned()));
        let got = embeds(&double);
        assert!(!got.is_empty() && got.iter().all(|got| *got == expected), "{version}: {got:?}");

        double.forget();
        embedder.embed(request(&["a river", "a lake"])).await.unwrap();
        assert!(embeds(&double).iter().flatten().all(Option::is_none), "{version}");
    }
}

#[tokio::test]
async fn tries_again_and_pieces_of_a_long_text_are_in_the_same_trace() {
    let double = OllamaDouble::start("0.9.3").await;
    let embedder = connect(quick(&double)).await;
    double.forget();
    double.fail([Fault::Error(502, "bad gateway".into())]);
    let long = "the depth of a lake ".repeat(400);
    let request = request(&["a river", &long]).with_truncation(Truncation::ChunkMean).with_trace(trace());
    embedder.embed(request).await.unwrap().into_complete().unwrap();
    let got = embeds(&double);
    assert!(got.len() > 3, "one again, and several chunks");
    assert!(got.iter().all(|[parent, ..]| parent.as_deref() == Some(PARENT)), "{got:?}");
}
