//! An Ollama that starts later than the gateway, as after a reboot: its route stays, refuses in words, and is well again
//! without a restart. No text goes to another space meanwhile.

use std::net::TcpListener;

use embed_testkit::ollama::OllamaDouble;
use hyper::StatusCode;
use serde_json::{Value, json};

use crate::http::{Reply, ask, get, request, until};
use crate::serving::{Serving, has_e5};

const E5: &str = "multilingual-e5-small/mean/query-passage/l2/384";
const MINILM: &str = "all-minilm/mean/plain/l2/384";
const ENGLISH: &str = "the depth of a lake";

/// A port where nothing listens.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

async fn openai(url: &str, model: &str, text: &str) -> Reply {
    let body = json!({ "model": model, "input": text }).to_string();
    ask(url, request("POST", "/v1/embeddings", body)).await.unwrap()
}

/// TEI names no model: it is the first one.
async fn tei(url: &str, text: &str) -> Reply {
    ask(url, request("POST", "/embed", json!({ "inputs": text }).to_string())).await.unwrap()
}

async fn names(url: &str) -> Vec<String> {
    let models = get(url, "/v1/models").await.json();
    models["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap().to_owned()).collect()
}

fn refused(reply: &Reply) {
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE, "{}", reply.text());
    assert!(reply.text().contains("doesn't answer now"), "{}", reply.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hybrid_gateway_waits_for_ollama_and_keeps_its_spaces() {
    if !has_e5() {
        return;
    }
    let port = free_port();
    let base = format!("http://127.0.0.1:{port}");
    let serving = Serving::start(&["--service", "hybrid"], &[("TMWS_OLLAMA_API_BASE", &base)]);
    let url = serving.url();
    let offered = ["auto", "multilingual-e5-small", "all-minilm"];
    assert_eq!(names(url).await, offered);

    for reply in [
        openai(url, "auto", ENGLISH).await,
        openai(url, "all-minilm", ENGLISH).await,
        tei(url, ENGLISH).await,
    ] {
        refused(&reply);
    }
    assert!(get(url, "/status").await.text().contains("looked for"));
    // What the other model reads is served as before.
    for reply in [openai(url, "auto", "富士山の高さ").await, tei(url, "富士山の高さ").await] {
        assert_eq!((reply.status, reply.header("x-embed-space")), (StatusCode::OK, E5), "{}", reply.text());
    }
    assert_eq!(get(url, "/readyz").await.status, StatusCode::OK);
    assert!(get(url, "/metrics").await.text().lines().any(|line| {
        line.starts_with("tmws_breakers")
            && line.contains("absent")
            && line.contains("ollama")
            && line.ends_with(" 1")
    }));

    let _double = OllamaDouble::start_at("0.9.3", port).await;
    until("Ollama is used", async || openai(url, "all-minilm", ENGLISH).await.status == StatusCode::OK).await;
    assert_eq!(names(url).await, offered, "a name means what it meant");
    for reply in [
        openai(url, "auto", ENGLISH).await,
        openai(url, "all-minilm", ENGLISH).await,
        tei(url, ENGLISH).await,
    ] {
        assert_eq!(
            (reply.status, reply.header("x-embed-space")),
            (StatusCode::OK, MINILM),
            "{}",
            reply.text()
        );
    }
}

/// Nobody calls but the probes, and the gateway is ready when Ollama is.
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_before_ollama_alone_becomes_ready_without_a_request() {
    let port = free_port();
    let base = format!("http://127.0.0.1:{port}");
    let serving = Serving::start(&["--service", "ollama"], &[("TMWS_OLLAMA_API_BASE", &base)]);
    let url = serving.url();
    assert_eq!(get(url, "/readyz").await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(get(url, "/healthz").await.status, StatusCode::OK);
    refused(&openai(url, "all-minilm", ENGLISH).await);
    assert!(serving.log().iter().any(|event: &Value| event["route"] == "ollama"), "{:?}", serving.log());

    let double = OllamaDouble::start_at("0.9.3", port).await;
    until("it is ready", async || get(url, "/readyz").await.status == StatusCode::OK).await;
    let reply = openai(url, "all-minilm", ENGLISH).await.json();
    let vector: Vec<f32> = serde_json::from_value(reply["data"][0]["embedding"].clone()).unwrap();
    assert!(embed_core::vector::cosine(&vector, &double.vector_of(ENGLISH)).unwrap() > 0.9999);
}

/// Who says so gets vectors of the other space meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn another_space_takes_over_only_if_the_settings_say_so() {
    if !has_e5() {
        return;
    }
    let base = format!("http://127.0.0.1:{}", free_port());
    let variables = [("TMWS_OLLAMA_API_BASE", base.as_str()), ("TMWS_ROUTER_CROSS_SPACE", "true")];
    let serving = Serving::start(&["--service", "hybrid"], &variables);
    let reply = openai(serving.url(), "auto", ENGLISH).await;
    assert_eq!((reply.status, reply.header("x-embed-space")), (StatusCode::OK, E5), "{}", reply.text());
    refused(&openai(serving.url(), "all-minilm", ENGLISH).await);
}
