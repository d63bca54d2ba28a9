//! The dialect of Ollama, compared with the answers of a real Ollama 0.9.3.

use embed_core::{Role, vector};
use embed_gateway::{GatewayConfig, ModelEntry};
use serde_json::{Value, json};

use crate::client::{get, over, post, router, send};
use crate::double::{self, DIMENSION, Double, vector_of};

use axum::body::Body;
use axum::http::Request;

fn floats(value: &Value) -> Vec<f32> {
    serde_json::from_value(value.clone()).unwrap()
}

/// Requests, and status and error of a real Ollama 0.9.3 with `all-minilm` instead of `double`. Only Go's message about an
/// unexpected character differs here, since that character is part of the caller's input.
const REFUSED: &[(&str, &str, u16, &str)] = &[
    ("/api/embed", r#"{"model":"double","input":5}"#, 400, "invalid input type"),
    ("/api/embed", r#"{"model":"double","input":[1,2]}"#, 400, "invalid input type"),
    ("/api/embed", r#"{"model":"double","input":["a",null]}"#, 400, "invalid input type"),
    ("/api/embed", r#"{"model":"double","input":{"a":1}}"#, 400, "invalid input type"),
    ("/api/embed", r#"{"model":"double","input":true}"#, 400, "invalid input type"),
    ("/api/embed", r#"{"model":"nope","input":"x"}"#, 404, r#"model "nope" not found, try pulling it first"#),
    (
        "/api/embed",
        r#"{"model":"no pe\"q\u00e9","input":"x"}"#,
        404,
        r#"model "no pe\"qé" not found, try pulling it first"#,
    ),
    ("/api/embed", r#"{"input":"x"}"#, 404, r#"model "" not found, try pulling it first"#),
    ("/api/embed", r#"{"model":"","input":"x"}"#, 404, r#"model "" not found, try pulling it first"#),
    ("/api/embed", "null", 404, r#"model "" not found, try pulling it first"#),
    ("/api/embed", "{} trailing", 404, r#"model "" not found, try pulling it first"#),
    (
        "/api/embed",
        r#"{"model":5,"input":"x"}"#,
        400,
        "json: cannot unmarshal number into Go struct field EmbedRequest.model of type string",
    ),
    (
        "/api/embed",
        r#"{"model":"double","input":"x","truncate":"yes"}"#,
        400,
        "json: cannot unmarshal string into Go struct field EmbedRequest.truncate of type bool",
    ),
    (
        "/api/embed",
        r#"{"model":"double","input":"x","options":5}"#,
        400,
        "json: cannot unmarshal number into Go struct field EmbedRequest.options of type map[string]interface {}",
    ),
    (
        "/api/embed",
        r#"{"model":"double","input":"x","options":{"unknown":"x","seed":null,"num_ctx":"8"}}"#,
        400,
        r#"option "num_ctx" must be of type integer"#,
    ),
    (
        "/api/embeddings",
        r#"{"model":"double","prompt":"x","options":{"stop":["a",5]}}"#,
        400,
        r#"option "stop" must be of an array of strings"#,
    ),
    (
        "/api/embed",
        r#"{"model":"double","input":"x","keep_alive":"10"}"#,
        400,
        r#"time: missing unit in duration "10""#,
    ),
    ("/api/embed", r#"{"model":"double","input":"x","keep_alive":true}"#, 400, "Unsupported type: 'bool'"),
    (
        "/api/embed",
        r#"{"model":"double","input":"x","keep_alive":"PT15M"}"#,
        400,
        r#"time: invalid duration "PT15M""#,
    ),
    ("/api/embed", r#"{"model":"double","input":"x""#, 400, "unexpected EOF"),
    ("/api/embed", r#"{"model""#, 400, "unexpected EOF"),
    ("/api/embed", "", 400, "missing request body"),
    ("/api/embed", "   ", 400, "missing request body"),
    ("/api/embed", "[1]", 400, "json: cannot unmarshal array into Go value of type api.EmbedRequest"),
    ("/api/embed", "\"x\"", 400, "json: cannot unmarshal string into Go value of type api.EmbedRequest"),
    ("/api/embed", "5", 400, "json: cannot unmarshal number into Go value of type api.EmbedRequest"),
    (
        "/api/embeddings",
        r#"{"model":"nope","prompt":"x"}"#,
        404,
        r#"model "nope" not found, try pulling it first"#,
    ),
    ("/api/embeddings", r#"{"prompt":"x"}"#, 400, "model is required"),
    (
        "/api/embeddings",
        r#"{"model":"double","prompt":["x"]}"#,
        400,
        "json: cannot unmarshal array into Go struct field EmbeddingRequest.prompt of type string",
    ),
    ("/api/embeddings", "", 400, "missing request body"),
    ("/api/show", r#"{"model":"nope"}"#, 404, "model 'nope' not found"),
    ("/api/show", "{}", 400, "model is required"),
    ("/api/show", "", 400, "missing request body"),
];

#[tokio::test]
async fn refusals_are_those_of_a_real_server() {
    let router = router();
    for (path, body, status, error) in REFUSED {
        let reply = post(&router, path, *body).await.expect(*status);
        assert_eq!(reply.json(), json!({ "error": error }), "{path} {body}");
        assert_eq!(reply.header("content-type"), Some("application/json; charset=utf-8"));
    }
    let long = json!({ "model": "double", "input": "word ".repeat(2000), "truncate": false }).to_string();
    let error = post(&router, "/api/embed", long).await.expect(400).json();
    assert_eq!(error["error"], "input length exceeds maximum context length");
    for (method, path, status, text) in [
        ("GET", "/api/embed", 405, "405 method not allowed"),
        ("GET", "/api/nothing", 404, "404 page not found"),
    ] {
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        let reply = send(&router, request).await.expect(status);
        assert_eq!((reply.text.as_str(), reply.header("content-type")), (text, Some("text/plain")));
    }
}

#[tokio::test]
async fn no_texts_load_the_model_and_give_no_rows() {
    for body in [
        r#"{"model":"double","input":""}"#,
        r#"{"model":"double","input":[]}"#,
        r#"{"model":"double"}"#,
        r#"{"model":"double","input":null}"#,
    ] {
        let reply = post(&router(), "/api/embed", body).await.expect(200);
        assert_eq!(reply.text, r#"{"model":"double","embeddings":[]}"#, "{body}");
    }
    for body in [r#"{"model":"double","prompt":""}"#, r#"{"model":"double","input":"x"}"#] {
        let reply = post(&router(), "/api/embeddings", body).await.expect(200);
        assert_eq!(reply.text, r#"{"embedding":[]}"#, "{body}");
    }
}

#[tokio::test]
async fn texts_get_vectors_durations_and_a_count() {
    for body in [
        r#"{"model":"double:latest","input":["why is the sky blue?","b"]}"#,
        r#"{"MODEL":"double:latest","Input":["why is the sky blue?","b"]} trailing"#,
        r#"{"model":"double:latest","input":["why is the sky blue?","b"],"truncate":null,"keep_alive":"5m",
            "options":{"num_ctx":8192},"unknown":[{}]}"#,
    ] {
        let reply = post(&router(), "/api/embed", body).await.expect(200);
        assert_eq!(reply.header("content-type"), Some("application/json; charset=utf-8"));
        let answer = reply.json();
        let mut fields: Vec<_> = answer.as_object().unwrap().keys().map(String::as_str).collect();
        fields.sort_unstable();
        assert_eq!(fields, ["embeddings", "load_duration", "model", "prompt_eval_count", "total_duration"]);
        assert_eq!(answer["model"], "double:latest");
        assert_eq!(answer["prompt_eval_count"], 7 + 3);
        assert!(answer["total_duration"].as_u64() >= answer["load_duration"].as_u64());
        assert_eq!(floats(&answer["embeddings"][0]), vector_of(Role::Document, "why is the sky blue?"));
        assert_eq!(floats(&answer["embeddings"][1]), vector_of(Role::Document, "b"));
    }
    let one =
        post(&router(), "/api/embeddings", r#"{"model":"DOUBLE:query","prompt":"x"}"#).await.expect(200);
    assert_eq!(floats(&one.json()["embedding"]), vector_of(Role::Query, "x"));
}

#[tokio::test]
async fn long_texts_are_cut_by_default_and_dimensions_as_later_servers_do() {
    let long = json!({ "model": "double", "input": "word ".repeat(2000) }).to_string();
    let reply = post(&router(), "/api/embed", long).await.expect(200);
    assert_eq!(reply.header("x-embed-truncated"), Some("1"));
    assert_eq!(reply.json()["prompt_eval_count"], 512);
    for (dimensions, length) in [(4, 4), (0, DIMENSION), (-1, DIMENSION), (5000, DIMENSION)] {
        let body = json!({ "model": "double", "input": "x", "dimensions": dimensions }).to_string();
        let answer = post(&router(), "/api/embed", body).await.expect(200).json();
        let vector = floats(&answer["embeddings"][0]);
        assert_eq!(vector.len(), length, "{dimensions}");
        assert!((vector::norm(&vector) - 1.0).abs() < 1e-6);
    }
}

#[tokio::test]
async fn a_bad_text_fails_the_request_unless_it_is_partial() {
    let body = r#"{"model":"double","input":["a",""]}"#;
    let error = post(&router(), "/api/embed", body).await.expect(400).json();
    assert_eq!(error["error"], "text 1: the text is empty");
    let body = r#"{"model":"double","input":["a",""],"partial":true}"#;
    let answer = post(&router(), "/api/embed", body).await.expect(200).json();
    assert_eq!(floats(&answer["embeddings"][0]), vector_of(Role::Document, "a"));
    assert_eq!(answer["embeddings"][1], Value::Null);
    assert_eq!(answer["errors"], json!([{ "index": 1, "error": "the text is empty" }]));
}

/// Statuses, locations and bodies of a real Ollama 0.9.3.
#[tokio::test]
async fn a_trailing_slash_redirects_to_the_path_without() {
    for (method, path, status, location, text) in [
        ("POST", "/api/embed/", 307, Some("/api/embed"), ""),
        ("POST", "/api/show/", 307, Some("/api/show"), ""),
        ("POST", "/v1/embeddings/?a=b", 307, Some("/v1/embeddings?a=b"), ""),
        ("GET", "/api/tags/", 301, Some("/api/tags"), "<a href=\"/api/tags\">Moved Permanently</a>.\n\n"),
        (
            "GET",
            "/api/tags/?a=b&c",
            301,
            Some("/api/tags?a=b&c"),
            "<a href=\"/api/tags?a=b&amp;c\">Moved Permanently</a>.\n\n",
        ),
        ("GET", "/api/embed/", 404, None, "404 page not found"),
        ("POST", "/api/tags/", 404, None, "404 page not found"),
        ("PUT", "/api/embed/", 404, None, "404 page not found"),
        ("GET", "/api/", 404, None, "404 page not found"),
        ("GET", "/api/nothing/", 404, None, "404 page not found"),
    ] {
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        let reply = send(&router(), request).await.expect(status);
        assert_eq!((reply.header("location"), reply.text.as_str()), (location, text), "{method} {path}");
    }
    let head = Request::builder().method("HEAD").uri("/api/tags/").body(Body::empty()).unwrap();
    assert_eq!(send(&router(), head).await.expect(307).header("location"), Some("/api/tags"));
    // No path redirects to another machine.
    for path in ["//evil.example/", "/\\evil.example/", "//api/tags/"] {
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        assert_eq!(send(&router(), request).await.expect(404).header("location"), None);
    }
}

#[tokio::test]
async fn a_served_model_is_pulled_at_once_and_nothing_else_is_managed() {
    for body in [r#"{"model":"double"}"#, r#"{"name":"double:latest","stream":true}"#] {
        let reply = post(&router(), "/api/pull", body).await.expect(200);
        assert_eq!(reply.header("content-type"), Some("application/x-ndjson"));
        let steps: Vec<Value> = reply.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(steps.last(), Some(&json!({ "status": "success" })));
    }
    let whole = post(&router(), "/api/pull", r#"{"model":"double","stream":false}"#).await.expect(200);
    assert_eq!(whole.json(), json!({ "status": "success" }));
    let error = post(&router(), "/api/pull", r#"{"model":"nope"}"#).await.expect(404).json();
    assert!(error["error"].as_str().unwrap().contains("'nope' isn't served here"), "{error}");
    // The answers of a real Ollama 0.9.3.
    for (path, body, status, error) in [
        ("/api/pull", r#"{"model":""}"#, 400, "invalid model name"),
        ("/api/pull", "", 400, "missing request body"),
        ("/api/generate", r#"{"model":"double","prompt":"x"}"#, 400, r#""double" does not support generate"#),
        ("/api/generate", r#"{"model":"nope"}"#, 404, "model 'nope' not found"),
        ("/api/chat", r#"{"model":"double","messages":[]}"#, 400, r#""double" does not support chat"#),
        ("/api/chat", r#"{"model":"nope"}"#, 404, r#"model "nope" not found, try pulling it first"#),
    ] {
        let reply = post(&router(), path, body).await.expect(status).json();
        assert_eq!(reply, json!({ "error": error }), "{path} {body}");
    }
    // Unloading (`ollama stop`, `ollama rm`) has no effect, and has Ollama's answer.
    for (path, keep_alive) in
        [("/api/generate", json!(0)), ("/api/generate", json!("0s")), ("/api/chat", json!(0))]
    {
        let body = json!({ "model": "double", "keep_alive": keep_alive }).to_string();
        let answer = post(&router(), path, body).await.expect(200).json();
        assert_eq!((&answer["done"], &answer["done_reason"]), (&json!(true), &json!("unload")), "{answer}");
        assert_eq!(answer.get("response").is_some(), path == "/api/generate");
    }
    post(&router(), "/api/generate", r#"{"model":"double","keep_alive":0,"prompt":"x"}"#).await.expect(400);
    post(&router(), "/api/generate", r#"{"model":"double","keep_alive":"5m"}"#).await.expect(400);
    for (method, path) in [
        ("POST", "/api/create"),
        ("POST", "/api/copy"),
        ("POST", "/api/push"),
        ("DELETE", "/api/delete"),
        ("POST", "/api/blobs/sha256:00"),
    ] {
        let request = Request::builder().method(method).uri(path).body(Body::from("{}")).unwrap();
        let error = send(&router(), request).await.expect(501).json();
        assert!(error["error"].as_str().unwrap().contains("models are chosen where"), "{error}");
    }
}

/// Ollama cuts a text to this many tokens; here nothing is cut below the model's limit.
#[tokio::test]
async fn a_window_that_would_cut_a_text_is_refused() {
    for (text, window, status) in [
        ("one two three", json!(4), 400),
        ("one two three", json!(5), 200),
        ("one two three", json!(8192), 200),
        ("one two three", json!(0), 200),
        ("uncounted", json!(8), 400),
    ] {
        let options = json!({ "num_ctx": window });
        let body =
            json!({ "model": "double", "input": text, "prompt": text, "options": options }).to_string();
        for path in ["/api/embed", "/api/embeddings"] {
            let reply = post(&router(), path, body.clone()).await.expect(status);
            assert_eq!(reply.text.contains("num_ctx"), status == 400, "{}", reply.text);
        }
    }
}

#[tokio::test]
async fn models_and_server_are_described() {
    let router = router();
    assert_eq!(get(&router, "/api/version").await.expect(200).text, r#"{"version":"0.9.3"}"#);
    let tags = get(&router, "/api/tags").await.expect(200).json();
    let model = &tags["models"][0];
    assert_eq!((&model["name"], &model["model"]), (&json!("double:latest"), &json!("double:latest")));
    assert_eq!(model["digest"].as_str().unwrap().len(), 64);
    assert_eq!(model["details"]["families"], json!(["bert"]));
    let ps = get(&router, "/api/ps").await.expect(200).json();
    assert_eq!(ps["models"][0]["digest"], model["digest"]);
    assert!(ps["models"][0]["expires_at"].as_str().unwrap() > "2100");
    for body in [r#"{"model":"double"}"#, r#"{"name":"double:query"}"#] {
        let show = post(&router, "/api/show", body).await.expect(200).json();
        assert_eq!(show["capabilities"], json!(["embedding"]));
        assert_eq!(show["model_info"]["bert.embedding_length"], DIMENSION);
        assert_eq!(show["model_info"]["bert.context_length"], 512);
        assert_eq!(show["model_info"]["bert.pooling_type"], 1);
        assert_eq!(show["model_info"]["general.parameter_count"], 22_565_376);
        assert_eq!(show["details"]["parameter_size"], "22.57M");
    }
    assert_eq!(model["size"], 45_949_638);
    // Unknown values are left out. The command expects `model_info` to be complete, and shows the details without it.
    let unknown = GatewayConfig::new([ModelEntry::new("double", double::model("double"))]);
    let router = over(Double::new(), unknown);
    let show = post(&router, "/api/show", r#"{"model":"double"}"#).await.expect(200).json();
    assert_eq!(show.get("model_info"), None);
    let tags = get(&router, "/api/tags").await.expect(200).json();
    assert_eq!(tags["models"][0].get("size"), None);
}
