//! The answers of each dialect are byte for byte those in `tests/golden`: status, headers, body.

use std::fmt::Write as _;
use std::fs;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::Request;
use axum::http::header::{CONTENT_LENGTH, HeaderName};
use embed_gateway::{ApiKey, GatewayConfig, ModelEntry};
use sha2::{Digest, Sha256};

use crate::client::{Reply, config, get, over, send};
use crate::double::{Double, model};
use crate::openapi;

/// Method, path, body.
type Case = (&'static str, &'static str, &'static str);

/// Values that depend on the time or the duration of the test.
const TIMES: [&str; 7] = [
    "created",
    "created_at",
    "expires_at",
    "load_duration",
    "modified_at",
    "total_duration",
    "uptime_seconds",
];

const OPENAI: [Case; 20] = [
    ("POST", "/v1/embeddings", r#"{"model":"double","input":"a river"}"#),
    (
        "POST",
        "/v1/embeddings",
        r#"{"model":"text-embedding-3-small:query","input":["a river","a \"lake\"\n"]}"#,
    ),
    ("POST", "/v1/embeddings", r#"{"model":"double","input":["a river"],"encoding_format":"base64"}"#),
    ("POST", "/v1/embeddings", r#"{"model":"double","input":"a river","dimensions":4,"user":"u"}"#),
    ("POST", "/v1/embeddings", r#"{"model":"double","input":["a river","cached"],"details":true}"#),
    (
        "POST",
        "/v1/embeddings",
        r#"{"model":"double","input":["a river","","crash"],"partial":true,"details":true}"#,
    ),
    ("POST", "/v1/embeddings", r#"{"model":"double","input":["a river",""]}"#),
    ("POST", "/v1/embeddings", r#"{"model":"double","input":"crash"}"#),
    ("POST", "/v1/embeddings", r#"{"model":"double","input":"uncounted"}"#),
    ("POST", "/v1/embeddings", r#"{"model":"nobody","input":"a river"}"#),
    ("POST", "/v1/embeddings", r#"{"model":"double","input":[]}"#),
    ("POST", "/v1/embeddings", r#"{"model":"double","input":5}"#),
    ("POST", "/v1/embeddings", r#"{"model":"double","input":"a","encoding_format":"int8"}"#),
    ("POST", "/v1/embeddings", r#"{"model":"double","#),
    ("POST", "/v1/embeddings", ""),
    ("POST", "/embeddings", r#"{"input":["a river"]}"#),
    ("GET", "/v1/models", ""),
    ("GET", "/v1/models/double", ""),
    ("GET", "/v1/models/nobody", ""),
    ("GET", "/v1/embeddings", ""),
];

const OLLAMA: [Case; 24] = [
    ("POST", "/api/embed", r#"{"model":"double","input":"a river"}"#),
    ("POST", "/api/embed", r#"{"model":"double:latest","input":["a river","a lake"],"keep_alive":"5m"}"#),
    (
        "POST",
        "/api/embed",
        r#"{"model":"double","input":["a river","cached"],"dimensions":4,"details":true}"#,
    ),
    ("POST", "/api/embed", r#"{"model":"double","input":["a river","crash"],"partial":true}"#),
    ("POST", "/api/embed", r#"{"model":"double","input":["a river","crash"]}"#),
    ("POST", "/api/embed", r#"{"model":"double","input":["a river",""]}"#),
    ("POST", "/api/embed", r#"{"model":"double","input":[]}"#),
    ("POST", "/api/embed", r#"{"model":"double"}"#),
    ("POST", "/api/embed", r#"{"model":"nobody","input":"a river"}"#),
    ("POST", "/api/embed", r#"{"model":"double","input":5}"#),
    ("POST", "/api/embed", r#"{"model":"double","#),
    ("POST", "/api/embed", ""),
    ("POST", "/api/embeddings", r#"{"model":"double","prompt":"a river"}"#),
    ("POST", "/api/embeddings", r#"{"model":"double"}"#),
    ("POST", "/api/embeddings", r#"{"model":"double","prompt":"crash"}"#),
    ("GET", "/api/tags", ""),
    ("GET", "/api/ps", ""),
    ("GET", "/api/version", ""),
    ("POST", "/api/show", r#"{"model":"double"}"#),
    ("POST", "/api/show", r#"{"model":"nobody"}"#),
    ("POST", "/api/pull", r#"{"model":"double"}"#),
    ("POST", "/api/generate", r#"{"model":"double","keep_alive":0}"#),
    ("POST", "/api/chat", r#"{"model":"double"}"#),
    ("DELETE", "/api/delete", r#"{"model":"double"}"#),
];

const TEI: [Case; 19] = [
    ("POST", "/embed", r#"{"inputs":"a river"}"#),
    ("POST", "/embed", r#"{"inputs":["a river","a lake"],"prompt_name":"query"}"#),
    ("POST", "/embed", r#"{"inputs":["a river"],"normalize":false,"dimensions":4}"#),
    ("POST", "/embed", r#"{"inputs":["a river","crash"],"partial":true,"details":true}"#),
    ("POST", "/embed", r#"{"inputs":["a river",""]}"#),
    ("POST", "/embed", r#"{"inputs":"crash"}"#),
    ("POST", "/embed", r#"{"inputs":[]}"#),
    ("POST", "/embed", r#"{"inputs":"a river","model":"nobody"}"#),
    ("POST", "/embed", r#"{"inputs":5}"#),
    ("POST", "/embed", r#"{"inputs":"#),
    ("POST", "/", r#"{"inputs":["a river"]}"#),
    ("POST", "/tokenize", r#"{"inputs":["a river",""]}"#),
    ("POST", "/tokenize", r#"{"inputs":"a river","add_special_tokens":false}"#),
    ("POST", "/decode", r#"{"ids":[[0,3,2]],"skip_special_tokens":false}"#),
    ("POST", "/similarity", r#"{"inputs":{"source_sentence":"a river","sentences":["a lake","a river"]}}"#),
    ("POST", "/similarity", r#"{"inputs":"a river"}"#),
    ("POST", "/rerank", r#"{"query":"a","texts":["b"]}"#),
    ("GET", "/info", ""),
    ("GET", "/health", ""),
];

const NATIVE: [Case; 14] = [
    ("POST", "/embed/plan", r#"{"input":["a river","a lake"],"role":"query"}"#),
    ("POST", "/embed/plan", r#"{"input":["a river","crash"],"role":"document","coverage":"route"}"#),
    ("POST", "/embed/plan", r#"{"input":"a river"}"#),
    ("POST", "/embed/plan", r#"{"input":"a river","role":"query","coverage":"half"}"#),
    ("POST", "/embed/plan", r#"{"#),
    ("POST", "/route", r#"{"input":["a river","a lake"]}"#),
    ("POST", "/route", r#"{"input":5}"#),
    ("GET", "/status", ""),
    ("GET", "/healthz", ""),
    ("GET", "/readyz", ""),
    ("GET", "/metrics", ""),
    ("GET", "/openapi.json", ""),
    ("GET", "/nothing", ""),
    ("DELETE", "/route", ""),
];

/// Two spaces: a text with kana goes to the second.
const MIXED: [Case; 6] = [
    ("POST", "/v1/embeddings", r#"{"model":"auto","input":["a river","こんにちは"],"details":true}"#),
    ("POST", "/v1/embeddings", r#"{"model":"auto","input":["a river","こんにちは"]}"#),
    ("POST", "/v1/embeddings", r#"{"model":"double","input":["a river","こんにちは"]}"#),
    ("POST", "/api/embed", r#"{"model":"auto","input":["こんにちは"]}"#),
    ("POST", "/embed", r#"{"inputs":["a river","こんにちは"]}"#),
    ("GET", "/v1/models", ""),
];

/// Requests without a key, in each dialect.
const REFUSED: [Case; 6] = [
    ("POST", "/v1/embeddings", r#"{"model":"double","input":"a river"}"#),
    ("POST", "/api/embed", r#"{"model":"double","input":"a river"}"#),
    ("POST", "/embed", r#"{"inputs":"a river"}"#),
    ("POST", "/route", r#"{"input":"a river"}"#),
    ("GET", "/v1/models", ""),
    ("GET", "/healthz", ""),
];

/// Compares a gateway's answers to requests with a golden file.
async fn compare(name: &str, router: Router, cases: &[Case]) {
    let mut page = String::new();
    for (method, path, body) in cases {
        let request = Request::builder().method(*method).uri(*path).header("x-request-id", "golden");
        let reply = send(&router, request.body(Body::from(*body)).unwrap()).await;
        write(&mut page, (method, path, body), &reply);
    }
    let file = format!("{}/tests/golden/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    embed_testkit::golden(file, "-p embed-gateway --test it golden", &page);
}

fn write(page: &mut String, (method, path, body): (&str, &str, &str), reply: &Reply) {
    let line = |name: &HeaderName| format!("{name}: {}", reply.header(name.as_str()).unwrap());
    // The length is that of the body below, except for the times in it.
    assert_eq!(reply.header("content-length"), Some(&*reply.text.len().to_string()), "{path}");
    let mut headers: Vec<_> = reply.headers.keys().filter(|name| *name != CONTENT_LENGTH).map(line).collect();
    headers.sort();
    // The document has its own file.
    let text = match path {
        "/openapi.json" => format!("SHA-256 {:x}", Bytes::copy_from_slice(&Sha256::digest(&reply.text))),
        _ => TIMES.iter().fold(reply.text.replace(env!("CARGO_PKG_VERSION"), "VERSION"), without),
    };
    let request = format!("{method} {path} {body}");
    let headers = headers.join("\n");
    writeln!(page, ">>> {}\n{}\n{headers}\n\n{text}\n", request.trim_end(), reply.status).unwrap();
}

/// A body whose values under a key are left out.
fn without(text: String, key: &&str) -> String {
    let key = format!("\"{key}\":");
    let mut parts = text.split(&key);
    let head = parts.next().unwrap().to_owned();
    parts.fold(head, |whole, part| whole + &key + "TIME" + &part[part.find([',', '}']).unwrap()..])
}

#[tokio::test]
async fn openai_answers_as_recorded() {
    compare("openai", openapi::full(), &OPENAI).await;
}

#[tokio::test]
async fn ollama_answers_as_recorded() {
    compare("ollama", openapi::full(), &OLLAMA).await;
}

#[tokio::test]
async fn tei_answers_as_recorded() {
    compare("tei", openapi::full(), &TEI).await;
}

#[tokio::test]
async fn the_native_paths_answer_as_recorded() {
    compare("native", openapi::full(), &NATIVE).await;
}

#[tokio::test]
async fn several_spaces_answer_as_recorded() {
    let auto = ModelEntry::new("auto", model("double")).with_mixed_spaces(true);
    let config = GatewayConfig::new([auto, ModelEntry::new("double", model("double"))]);
    compare("mixed", over(Double::mixed(), config), &MIXED).await;
}

#[tokio::test]
async fn requests_without_a_key_are_refused_as_recorded() {
    let config = config().with_api_keys([ApiKey::new("ci", "correct horse")]);
    compare("refused", over(Double::new(), config), &REFUSED).await;
}

/// A request without an id gets one, and nothing else differs.
#[tokio::test]
async fn an_id_is_generated_if_there_is_none() {
    let reply = get(&openapi::full(), "/healthz").await;
    assert!(reply.header("x-request-id").is_some_and(|id| id.len() >= 16), "{reply:?}");
}

/// The file in the repository is the served document.
#[tokio::test]
async fn the_document_is_the_file() {
    let file = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json")).unwrap();
    assert!(get(&openapi::full(), "/openapi.json").await.text == file);
}
