//! An Ollama that starts later than the gateway, as after a reboot: its route stays, refuses in words, and is well again
//! without a restart. No text goes to another space meanwhile.

use std::net::TcpListener;

use embed_testkit::ollama::OllamaDouble;
use hyper::StatusCode;
use serde_json::{Value, json};

use crate::http::{Reply, ask, get, request, until};
use crate::serving::{NO_ENGLISH_MODEL, Serving, has_e5};

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

async fn ollama(url: &str, text: &str) -> Reply {
    let body = json!({ "model": "all-minilm", "input": text }).to_string();
    ask(url, request("POST", "/api/embed", body)).await.unwrap()
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
    // Which one it is, what a caller can do, and who can do more; and not where it should be.
    for part in ["the back end `ollama` doesn't answer now", "Try again later", "its log"] {
        assert!(reply.text().contains(part), "{}", reply.text());
    }
    assert!(!reply.text().contains("127.0.0.1"), "{}", reply.text());
}

/// What the model paths of all dialects say of the model of Ollama: OpenAI's, Ollama's three, TEI's for the first model, and
/// `/status`.
async fn sheets(url: &str) -> [Value; 6] {
    let show = request("POST", "/api/show", json!({ "model": "all-minilm" }).to_string());
    let named = |list: &Value, key: &str| {
        let mut models = list.as_array().unwrap().iter();
        models
            .find(|model| model[key].as_str().unwrap().starts_with("all-minilm"))
            .cloned()
            .unwrap_or_default()
    };
    [
        get(url, "/v1/models/all-minilm").await.json(),
        named(&get(url, "/api/tags").await.json()["models"], "name"),
        named(&get(url, "/api/ps").await.json()["models"], "name"),
        ask(url, show).await.unwrap().json(),
        get(url, "/info").await.json(),
        named(&get(url, "/status").await.json()["models"], "name"),
    ]
}

/// The server has a model of another width than its name promises: what isn't known isn't guessed, and what is found is told.
#[tokio::test(flavor = "multi_thread")]
async fn the_catalogue_tells_what_is_there_and_guesses_nothing() {
    let port = free_port();
    let base = format!("http://127.0.0.1:{port}");
    let serving = Serving::start(&["--service", "ollama"], &[("TMWS_OLLAMA_API_BASE", &base)]);
    let url = serving.url();
    let [openai_card, tags, ps, show, info, status] = sheets(url).await;
    for card in [&openai_card, &status] {
        assert_eq!(card["available"], false, "{card}");
        for field in ["dimensions", "space", "max_tokens"] {
            assert_eq!(card[field], Value::Null, "{field}: {card}");
        }
    }
    assert_eq!((&tags["available"], &tags["details"]["family"]), (&json!(false), &json!("")), "{tags}");
    assert_eq!(ps, Value::Null, "it isn't loaded");
    assert_eq!(show.get("model_info"), None, "{show}");
    assert!(show["modelfile"].as_str().unwrap().contains("isn't there"), "{show}");
    for field in ["model_sha", "max_input_length", "model_dtype"] {
        assert_eq!(info[field], Value::Null, "{field}: {info}");
    }
    // A wish isn't held against a guess.
    let body = json!({ "model": "all-minilm", "input": ENGLISH, "dimensions": 500 }).to_string();
    refused(&ask(url, request("POST", "/v1/embeddings", body.clone())).await.unwrap());

    let double = OllamaDouble::start_at("0.9.3", port).await;
    double.change(|script| (script.dimension, script.model) = (512, "another".to_owned()));
    until("it is known what is missing", async || {
        openai(url, "all-minilm", ENGLISH)
            .await
            .text()
            .contains("the back end `ollama` doesn't have the model")
    })
    .await;
    assert_eq!(openai(url, "all-minilm", ENGLISH).await.status, StatusCode::SERVICE_UNAVAILABLE);
    double.change(|script| script.model = "all-minilm:latest".to_owned());
    until("Ollama is used", async || openai(url, "all-minilm", ENGLISH).await.status == StatusCode::OK).await;
    let space = "all-minilm/mean/plain/l2/512";
    let [openai_card, tags, ps, show, info, status] = sheets(url).await;
    for card in [&openai_card, &status] {
        assert_eq!(card["available"], true, "{card}");
        assert_eq!((&card["dimensions"], &card["space"]), (&json!(512), &json!(space)), "{card}");
        assert_eq!(card["max_tokens"], 512, "{card}");
    }
    assert_eq!(tags.get("available"), None, "{tags}");
    assert_eq!((&tags["size"], &ps["digest"]), (&json!(45_960_996), &tags["digest"]), "{tags}");
    assert_eq!(tags["details"]["quantization_level"], "F16", "{tags}");
    assert_eq!(show["model_info"]["bert.embedding_length"], 512, "{show}");
    assert_eq!(info["max_input_length"], 512, "{info}");
    assert_eq!(info["model_sha"], tags["digest"], "{info}");
    // Its one space is promised now, and so is its width.
    let reply = ask(url, request("POST", "/v1/embeddings", body)).await.unwrap();
    assert_eq!(
        (reply.status, reply.header("x-embed-space")),
        (StatusCode::OK, "all-minilm/mean/plain/l2/500")
    );
    let body = json!({ "model": "all-minilm", "input": ENGLISH, "dimensions": 513 }).to_string();
    assert_eq!(ask(url, request("POST", "/v1/embeddings", body)).await.unwrap().status, 400);
    let several = json!({ "model": "all-minilm", "input": [ENGLISH, "a river"] }).to_string();
    let reply = ask(url, request("POST", "/api/embed", several)).await.unwrap();
    assert_eq!((reply.status, reply.header("x-embed-space")), (StatusCode::OK, space));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hybrid_gateway_waits_for_ollama_and_keeps_its_spaces() {
    if !has_e5() {
        return;
    }
    let port = free_port();
    let base = format!("http://127.0.0.1:{port}");
    let serving =
        Serving::start(&["--service", "hybrid"], &[("TMWS_OLLAMA_API_BASE", &base), NO_ENGLISH_MODEL]);
    let url = serving.url();
    let offered = ["auto", "multilingual-e5-small", "all-minilm"];
    assert_eq!(names(url).await, offered);
    // What is served of it is of E5 alone so far.
    let auto = get(url, "/v1/models/auto").await.json();
    assert_eq!((&auto["available"], &auto["dimensions"]), (&json!(true), &Value::Null), "{auto}");

    for reply in [
        openai(url, "auto", ENGLISH).await,
        openai(url, "all-minilm", ENGLISH).await,
        ollama(url, ENGLISH).await,
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
    assert_eq!(get(url, "/v1/models/auto").await.json()["dimensions"], 384);
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
    let variables =
        [("TMWS_OLLAMA_API_BASE", base.as_str()), ("TMWS_ROUTER_CROSS_SPACE", "true"), NO_ENGLISH_MODEL];
    let serving = Serving::start(&["--service", "hybrid"], &variables);
    let reply = openai(serving.url(), "auto", ENGLISH).await;
    assert_eq!((reply.status, reply.header("x-embed-space")), (StatusCode::OK, E5), "{}", reply.text());
    refused(&openai(serving.url(), "all-minilm", ENGLISH).await);
}
