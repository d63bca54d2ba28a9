//! `/openapi.json` compared with the existing paths, and with answers of each of them.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use embed_core::{Coverage, EmbedRequest, EmbedderExt, Error, ErrorKind, Result, Role, async_trait};
use embed_gateway::{CacheStatus, Explainer, Explanation, Gateway, Plan, Planner, RouteStatus, StackStatus};
use jsonschema::Validator;
use serde_json::{Value, json};

use crate::client::{config, get, router, send};
use crate::double::Double;

#[derive(Debug)]
struct Extras;

impl Explainer for Extras {
    fn explain(&self, _text: &str, _role: Role, _partition: Option<&str>) -> Explanation {
        Explanation::new("en", 0.5, "latin").with_route("double", "space")
    }
}

#[async_trait]
impl Planner for Extras {
    async fn plan(&self, request: EmbedRequest, _coverage: Coverage) -> Result<Vec<Plan>> {
        let mut plans = Vec::new();
        for text in request.texts() {
            let vector = Double::new().encode(text, request.role()).await;
            plans.push(Plan::new(vec![vector, Err(Error::new(ErrorKind::Unavailable, "down"))]));
        }
        Ok(plans)
    }
}

pub(crate) fn full() -> Router {
    let gateway = Gateway::new(Arc::new(Double::new()), config())
        .with_explainer(Arc::new(Extras))
        .with_planner(Arc::new(Extras))
        .with_metrics(|| "up 1\n".to_owned())
        .with_status(|| {
            let route = RouteStatus::new("a", "m", "s", "ready");
            StackStatus::new(vec![route], vec![CacheStatus::new("memory", "ready")])
        });
    gateway.into_router().unwrap()
}

async fn document() -> Value {
    get(&router(), "/openapi.json").await.expect(200).json()
}

#[tokio::test]
async fn every_path_is_described_and_no_other() {
    let document = document().await;
    let described: BTreeSet<(String, String)> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, item)| {
            item.as_object().unwrap().keys().map(|method| (method.to_uppercase(), path.clone()))
        })
        .collect();
    let routes: BTreeSet<_> =
        Gateway::routes().into_iter().map(|(method, path)| (method.to_string(), path)).collect();
    assert_eq!(described, routes);
    let ids: BTreeSet<_> =
        operations(&document).map(|operation| operation["operationId"].to_string()).collect();
    assert_eq!(ids.len(), routes.len(), "operation ids are unique");
}

fn operations(document: &Value) -> impl Iterator<Item = &Value> {
    document["paths"].as_object().unwrap().values().flat_map(|item| item.as_object().unwrap().values())
}

/// A validator for a schema of the document, in which its references are resolved.
fn validator(document: &Value, schema: &Value) -> Validator {
    let mut whole = schema.clone();
    whole["components"] = document["components"].clone();
    jsonschema::draft202012::new(&whole).unwrap()
}

/// Requests to every path, with the expected status: each answer matches its schema, and each accepted request matches the
/// schema of requests.
#[tokio::test]
async fn answers_are_as_described() {
    let document = document().await;
    let router = full();
    let both = json!(["a", ""]);
    let mut seen = BTreeSet::new();
    for (method, path, described, body, status) in [
        ("POST", "/v1/embeddings", "", json!({ "model": "double", "input": ["a", "b"] }), 200),
        (
            "POST",
            "/v1/embeddings",
            "",
            json!({ "model": "double", "input": "a", "encoding_format": "base64" }),
            200,
        ),
        (
            "POST",
            "/v1/embeddings",
            "",
            json!({ "model": "double", "input": both, "partial": true, "details": true, "user": "u" }),
            200,
        ),
        ("POST", "/v1/embeddings", "", json!({ "model": "double", "input": both }), 400),
        ("POST", "/v1/embeddings", "", json!({ "model": "nope", "input": "a" }), 404),
        ("POST", "/v1/embeddings", "", json!({ "model": "double", "input": "crash" }), 503),
        ("GET", "/v1/models", "", Value::Null, 200),
        ("GET", "/v1/models/double", "/v1/models/{id}", Value::Null, 200),
        ("GET", "/v1/models/nope", "/v1/models/{id}", Value::Null, 404),
        ("POST", "/api/embed", "", json!({ "model": "double", "input": ["a"], "keep_alive": "5m" }), 200),
        ("POST", "/api/embed", "", json!({ "model": "double", "input": both, "partial": true }), 200),
        ("POST", "/api/embed", "", json!({ "model": "double", "input": null }), 200),
        ("POST", "/api/embed", "", json!({ "model": "double", "input": 5 }), 400),
        ("POST", "/api/embeddings", "", json!({ "model": "double", "prompt": "a" }), 200),
        ("GET", "/api/tags", "", Value::Null, 200),
        ("POST", "/api/show", "", json!({ "model": "double" }), 200),
        ("POST", "/api/show", "", json!({ "model": "nope" }), 404),
        ("GET", "/api/ps", "", Value::Null, 200),
        ("GET", "/api/version", "", Value::Null, 200),
        ("POST", "/embed", "", json!({ "inputs": ["a"], "truncation_direction": "Left" }), 200),
        ("POST", "/embed", "", json!({ "inputs": both, "partial": true }), 200),
        ("POST", "/embed", "", json!({ "inputs": both }), 422),
        ("POST", "/embed", "", json!({ "inputs": [] }), 400),
        ("POST", "/embed", "", json!({ "inputs": "a", "normalize": false, "prompt_name": "query" }), 200),
        ("POST", "/", "", json!({ "inputs": ["a"] }), 200),
        ("POST", "/", "", json!({ "inputs": 5 }), 422),
        ("POST", "/embeddings", "", json!({ "input": ["a"] }), 200),
        ("POST", "/v1/embeddings", "", json!({ "input": "uncounted" }), 200),
        ("POST", "/tokenize", "", json!({ "inputs": ["a b"], "add_special_tokens": true }), 200),
        ("POST", "/tokenize", "", json!({ "inputs": "" }), 422),
        ("POST", "/decode", "", json!({ "ids": [[0, 3, 2]], "skip_special_tokens": false }), 200),
        ("POST", "/decode", "", json!({ "ids": [1] }), 200),
        ("POST", "/decode", "", json!({ "ids": "a" }), 422),
        (
            "POST",
            "/similarity",
            "",
            json!({ "inputs": { "source_sentence": "a", "sentences": ["b"] }, "parameters": { "truncate": true } }),
            200,
        ),
        ("POST", "/similarity", "", json!({ "inputs": "a" }), 422),
        ("POST", "/rerank", "", Value::Null, 424),
        ("POST", "/predict", "", Value::Null, 424),
        ("POST", "/embed_all", "", Value::Null, 424),
        ("POST", "/embed_sparse", "", Value::Null, 424),
        ("POST", "/api/pull", "", json!({ "model": "double", "stream": false }), 200),
        ("POST", "/api/pull", "", json!({ "model": "nope" }), 404),
        ("POST", "/api/generate", "", json!({ "model": "double" }), 400),
        ("POST", "/api/generate", "", json!({ "model": "double", "keep_alive": 0 }), 200),
        ("POST", "/api/chat", "", json!({ "model": "nope" }), 404),
        ("POST", "/api/create", "", Value::Null, 501),
        ("POST", "/api/copy", "", Value::Null, 501),
        ("POST", "/api/push", "", Value::Null, 501),
        ("DELETE", "/api/delete", "", Value::Null, 501),
        ("POST", "/api/blobs/sha256:00", "/api/blobs/{digest}", Value::Null, 501),
        ("GET", "/info", "", Value::Null, 200),
        ("GET", "/health", "", Value::Null, 200),
        ("POST", "/embed/plan", "", json!({ "input": "a", "role": "query" }), 200),
        ("POST", "/embed/plan", "", json!({ "input": "a" }), 400),
        ("POST", "/route", "", json!({ "input": ["a"] }), 200),
        ("GET", "/status", "", Value::Null, 200),
        ("GET", "/healthz", "", Value::Null, 200),
        ("GET", "/readyz", "", Value::Null, 200),
        ("GET", "/metrics", "", Value::Null, 200),
        ("GET", "/openapi.json", "", Value::Null, 200),
        ("GET", "/", "", Value::Null, 200),
    ] {
        let described = if described.is_empty() { path } else { described };
        seen.insert((method.to_owned(), described.to_owned()));
        let text = if body.is_null() { String::new() } else { body.to_string() };
        let request = Request::builder().method(method).uri(path).body(Body::from(text)).unwrap();
        let reply = send(&router, request).await.expect(status);
        let operation = &document["paths"][described][method.to_lowercase()];
        let response = &operation["responses"][status.to_string()];
        assert!(response.is_object(), "{method} {path} {status} isn't described");
        let schema = &response["content"]["application/json"]["schema"];
        if schema.is_object() {
            let errors: Vec<String> =
                validator(&document, schema).iter_errors(&reply.json()).map(|e| e.to_string()).collect();
            assert!(errors.is_empty(), "{method} {path} {status}: {errors:?} in {}", reply.text);
        }
        if status == 200 && !body.is_null() {
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            assert!(validator(&document, schema).is_valid(&body), "{method} {path}: {body}");
        }
    }
    let routes: BTreeSet<_> =
        Gateway::routes().into_iter().map(|(method, path)| (method.to_string(), path)).collect();
    assert_eq!(seen, routes, "every path is requested");
}

#[tokio::test]
async fn references_resolve() {
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(map) => map.iter().for_each(|(key, value)| match (key.as_str(), value) {
                ("$ref", Value::String(target)) => found.push(target.clone()),
                _ => references(value, found),
            }),
            Value::Array(values) => values.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }
    let document = document().await;
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(!found.is_empty());
    for target in found {
        let pointer = target.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{target}");
    }
}
