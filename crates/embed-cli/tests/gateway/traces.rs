//! Traces of `embed serve`: a caller's goes on to the back end; a collector gets spans, without a text, and one that doesn't
//! answer disturbs nobody.

use embed_testkit::ollama::OllamaDouble;
use serde_json::json;

use crate::http::{ask, request};
use crate::serving::Serving;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// `(traceparent, tracestate, x-request-id)` of the last request to embed that came to the back end.
async fn carried(ollama: &OllamaDouble, serving: &Serving, headers: &[(&'static str, &str)]) -> [String; 3] {
    ollama.forget();
    let mut request =
        request("POST", "/api/embed", json!({ "model": "all-minilm", "input": "a river" }).to_string());
    for (name, value) in headers {
        request.headers_mut().append(*name, value.parse().unwrap());
    }
    let reply = ask(serving.url(), request).await.unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    let got = ollama.requests_for("/api/embed").pop().unwrap();
    let got = ["traceparent", "tracestate", "x-request-id"]
        .map(|name| got.header(name).unwrap_or_default().to_owned());
    assert_eq!(got[2], reply.header("x-request-id"), "the back end's log has the id that the caller gets");
    got
}

#[tokio::test(flavor = "multi_thread")]
async fn the_back_end_gets_the_trace_and_the_id_of_the_caller() {
    let ollama = OllamaDouble::start("0.9.3").await;
    let variables = [("TMWS_OLLAMA_API_BASE", &*ollama.url()), ("TMWS_CACHE", "off")];
    let serving = Serving::start(&["--service", "ollama"], &variables);
    let states = [("tracestate", "rojo=1"), ("tracestate", "congo=2")];
    let whole = [("traceparent", PARENT), states[0], states[1], ("x-request-id", "mine")];
    assert_eq!(carried(&ollama, &serving, &whole).await, [PARENT, "rojo=1,congo=2", "mine"]);
    // Without a trace, or with one that can't be read, there is an id alone.
    for headers in [&states[..], &[("traceparent", "00-0-0-0"), states[0]], &[whole[0], whole[0]]] {
        let [parent, state, id] = carried(&ollama, &serving, headers).await;
        assert_eq!((&*parent, &*state), ("", ""));
        assert!(!id.is_empty());
    }
}

#[cfg(not(feature = "otlp"))]
#[test]
fn a_build_without_traces_says_how_to_get_them() {
    let output = crate::serving::embed()
        .args(["config", "check"])
        .env("TMWS_OTLP_ENDPOINT", "http://127.0.0.1:4318")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap() + &String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("TMWS_OTLP_ENDPOINT") && said.contains("--features otlp"), "{said}");
}

#[cfg(feature = "otlp")]
mod sent {
    use std::sync::{Arc, Mutex};

    use axum::Router;
    use axum::body::Bytes;
    use axum::http::HeaderMap;
    use axum::routing::post;
    use embed_testkit::ollama::OllamaDouble;
    use serde_json::json;
    use tokio::net::TcpListener;

    use super::{PARENT, carried};
    use crate::http::{Connection, ask, request};
    use crate::serving::Serving;

    /// More than what waits for a collector may be.
    const MANY: usize = 2500;

    fn embedding(id: &str, input: &str) -> hyper::Request<http_body_util::Full<Bytes>> {
        let body = json!({ "model": "all-minilm", "input": input }).to_string();
        let mut request = request("POST", "/v1/embeddings", body);
        request.headers_mut().insert("x-request-id", id.parse().unwrap());
        request
    }

    fn start(ollama: &OllamaDouble, collector: &str) -> Serving {
        let variables = [("TMWS_OLLAMA_API_BASE", &*ollama.url()), ("TMWS_OTLP_ENDPOINT", collector)];
        Serving::start(&["--service", "ollama"], &variables)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_collector_gets_a_span_for_each_request_and_no_text() {
        let (got, kinds) = (Arc::<Mutex<Vec<u8>>>::default(), Arc::<Mutex<Vec<String>>>::default());
        let (bodies, heads) = (Arc::clone(&got), Arc::clone(&kinds));
        let take = post(async move |headers: HeaderMap, body: Bytes| {
            heads.lock().unwrap().push(headers["content-type"].to_str().unwrap().to_owned());
            bodies.lock().unwrap().extend_from_slice(&body);
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let collector = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, Router::new().route("/v1/traces", take)).await });

        let ollama = OllamaDouble::start("0.9.3").await;
        let mut serving = start(&ollama, &collector);
        let too_long = "confidential ".repeat(600);
        for (id, text, status) in [
            ("the-first", "confidential", 200),
            ("the-second", "confidential", 200),
            ("the-third", &too_long, 400),
        ] {
            assert_eq!(ask(serving.url(), embedding(id, text)).await.unwrap().status, status);
        }
        // What is not sent by now is sent at the end.
        serving.terminate();
        assert_eq!(serving.ended().code(), Some(0));

        // Texts are themselves in protobuf.
        let (got, kinds) = (got.lock().unwrap(), kinds.lock().unwrap());
        let has = |text: &str| got.windows(text.len()).any(|window| window == text.as_bytes());
        for text in [
            "the-first",
            "the-second",
            "the-third",
            "request",
            "embed",
            "backend",
            "embedded",
            "request_id",
            "dialect",
            "status",
            "latency_ms",
            "service",
            "ollama",
            "all-minilm",
            "space",
            "text_bytes",
            "text_length",
            "cache_hits",
            "input_too_long",
        ] {
            assert!(has(text), "no {text} in {}", String::from_utf8_lossy(&got));
        }
        assert!(!has("confidential"), "a text is in {}", String::from_utf8_lossy(&got));
        assert!(kinds.iter().all(|kind| kind == "application/x-protobuf"), "{kinds:?}");
    }

    /// Whoever records spans stands between its caller and its back end.
    #[tokio::test(flavor = "multi_thread")]
    async fn the_back_end_is_called_from_the_span_of_the_gateway() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let collector = format!("http://{}", silent.local_addr().unwrap());
        let ollama = OllamaDouble::start("0.9.3").await;
        let variables = [
            ("TMWS_OLLAMA_API_BASE", &*ollama.url()),
            ("TMWS_OTLP_ENDPOINT", &*collector),
            ("TMWS_CACHE", "off"),
        ];
        let serving = Serving::start(&["--service", "ollama"], &variables);
        let headers = [("traceparent", PARENT), ("tracestate", "rojo=1"), ("x-request-id", "mine")];
        let [parent, state, id] = carried(&ollama, &serving, &headers).await;
        assert_eq!((&*state, &*id), ("rojo=1", "mine"));
        let [called, caller] = [&*parent, PARENT].map(|parent| parent.split('-').collect::<Vec<_>>());
        assert_eq!((called[1], called[3]), (caller[1], caller[3]), "the same trace");
        assert_ne!(called[2], caller[2], "another span");
        // A trace may also begin here.
        let [parent, ..] = carried(&ollama, &serving, &[]).await;
        assert_eq!(parent.split('-').count(), 4, "{parent}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_collector_that_does_not_answer_disturbs_nobody() {
        // Nobody accepts what the system lets in.
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let collector = format!("http://{}", silent.local_addr().unwrap());
        let ollama = OllamaDouble::start("0.9.3").await;
        let mut serving = start(&ollama, &collector);
        let mut connection = Connection::open(serving.url()).await.unwrap();
        for number in 0..MANY {
            let reply = connection.send(embedding(&number.to_string(), "a text")).await.unwrap();
            assert_eq!(reply.status, 200, "{}", reply.text());
        }
        serving.terminate();
        assert_eq!(serving.ended().code(), Some(0));
    }
}
