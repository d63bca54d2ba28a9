//! Routes: which request gets which answer.

use std::sync::{Arc, OnceLock};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{ALLOW, AUTHORIZATION, CONTENT_TYPE, LOCATION, ORIGIN};
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::embed::{ModelPurpose, decode, embed, embeddings, lookup, string_field};
use super::errors::{StatusAndBody, error};
use super::fault::Fault;
use super::recorded::Recorded;
use super::runner::{Life, Stability};
use super::script::Script;
use super::shared::Shared;
use super::version::Since;
use crate::lock::lock;

const JSON: &str = "application/json; charset=utf-8";

pub(super) async fn answer(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let path = uri.path().to_owned();
    lock(&shared.requests).push(Recorded {
        path: path.clone(),
        headers: headers.clone(),
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
    });
    shared.count.send_modify(|count| *count += 1);
    let script = shared.script();
    if script.portal {
        return text(200, "text/html", "<html>please log in</html>");
    }
    if let Some(token) = &script.token {
        let expected = format!("Bearer {token}");
        let given = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        if given != Some(expected.as_str()) {
            return text(401, "text/plain", "unauthorized");
        }
    }
    if headers.contains_key(ORIGIN) {
        return text(403, "text/plain", "");
    }
    if path.contains("//") {
        return redirect(&path);
    }
    route(&shared, &script, &method, &path, &body).await
}

async fn route(shared: &Shared, script: &Script, method: &Method, path: &str, body: &[u8]) -> Response<Body> {
    let version = Since::of(&script.version);
    let get = *method == Method::GET || *method == Method::HEAD;
    let post = *method == Method::POST;
    match path {
        "/" if get => text(200, "text/plain; charset=utf-8", "Ollama is running"),
        "/api/version" if get => reply((200, json!({ "version": script.version }))),
        "/api/tags" if get => reply((200, tags(script))),
        "/api/ps" if get => reply((200, ps(shared, script, version))),
        "/api/show" if post => reply(show(script, version, body)),
        "/api/pull" if post => pull(body),
        "/api/embed" if post && version.since("0.2.6") => embed_route(shared, body).await,
        "/api/embeddings" if post => match next_fault(shared).answer() {
            Some(answer) => answer,
            None => reply(embeddings(shared, body).await),
        },
        "/api/version" | "/api/tags" | "/api/ps" | "/api/show" | "/api/pull" | "/api/embeddings" | "/"
            if version.since("0.7.0") =>
        {
            not_allowed(path)
        }
        "/api/embed" if version.since("0.7.0") => not_allowed(path),
        _ => text(404, "text/plain", "404 page not found"),
    }
}

async fn embed_route(shared: &Shared, body: &[u8]) -> Response<Body> {
    let fault = next_fault(shared);
    if fault == Fault::Silence {
        return std::future::pending().await;
    }
    if let Some(answer) = fault.answer() {
        return answer;
    }
    let rows = match fault {
        Fault::Rows(rows) => Some(rows),
        _ => None,
    };
    let (status, body) = embed(shared, body, rows).await;
    let mut response = reply((status, Value::Null));
    *response.body_mut() = fault.spoil(body.to_string());
    response
}

fn next_fault(shared: &Shared) -> Fault {
    lock(&shared.faults).pop_front().unwrap_or(Fault::None)
}

fn reply((status, body): StatusAndBody) -> Response<Body> {
    text(status, JSON, &body.to_string())
}

fn text(status: u16, content_type: &'static str, body: &str) -> Response<Body> {
    let mut response = Response::new(Body::from(body.to_owned()));
    *response.status_mut() = StatusCode::from_u16(status).expect("a status of this file is one");
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn not_allowed(path: &str) -> Response<Body> {
    let mut response = text(405, "text/plain", "405 method not allowed");
    let allowed = match path {
        "/" | "/api/version" | "/api/tags" | "/api/ps" => "GET, HEAD",
        _ => "POST",
    };
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

/// Go's multiplexer redirects to the cleaned path before Ollama sees the request.
fn redirect(path: &str) -> Response<Body> {
    let parts: Vec<_> = path.split('/').filter(|part| !part.is_empty()).collect();
    let mut response = text(301, "text/html; charset=utf-8", "");
    let to = HeaderValue::from_str(&format!("/{}", parts.join("/"))).expect("a path is ASCII");
    response.headers_mut().insert(LOCATION, to);
    response
}

fn details() -> Value {
    json!({
        "parent_model": "",
        "format": "gguf",
        "family": "bert",
        "families": ["bert"],
        "parameter_size": "22.57M",
        "quantization_level": "F16",
    })
}

fn chat_details() -> Value {
    json!({
        "parent_model": "",
        "format": "gguf",
        "family": "llama",
        "families": ["llama"],
        "parameter_size": "8.0B",
        "quantization_level": "Q4_0",
    })
}

fn tags(script: &Script) -> Value {
    let entry = |name: &str, digest: &str, size: u64, details: Value| {
        json!({
            "name": name,
            "model": name,
            "modified_at": "2026-01-01T00:00:00.000000000Z",
            "size": size,
            "digest": digest,
            "details": details,
        })
    };
    let mut models = vec![entry(&script.model, &script.digest, 45_960_996, details())];
    if let Some(chat) = &script.chat_model {
        models.push(entry(chat, &"365c".repeat(16), 4_661_224_676, chat_details()));
    }
    json!({ "models": models })
}

fn ps(shared: &Shared, script: &Script, version: Since) -> Value {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    let now = Instant::now();
    let origin = *ORIGIN.get_or_init(|| now);
    let Life::Expires(left, stability) = shared.runner.life(script.lists_loading) else {
        return json!({ "models": [] });
    };
    let at = match stability {
        Stability::Fixed(at) => at.saturating_duration_since(origin),
        Stability::FromNow => now.saturating_duration_since(origin) + left,
    };
    let mut entry = json!({
        "name": script.model,
        "model": script.model,
        "size": 87_000_000,
        "digest": script.digest,
        "details": details(),
        "expires_at": format!("2026-01-01T{:020.9}Z", at.as_secs_f64()),
        "size_vram": 0,
    });
    if version.since("0.10.0") {
        entry["context_length"] = json!(script.context);
    }
    json!({ "models": [entry] })
}

fn show(script: &Script, version: Since, body: &[u8]) -> StatusAndBody {
    let model = decode(body).and_then(|body| string_field(&body, "model", "ShowRequest"));
    let model = match model {
        Ok(model) => model,
        Err(answer) => return answer,
    };
    if model.is_empty() {
        return error(400, "model is required");
    }
    let Some(found) = lookup(script, version, &model) else {
        return error(404, format!("model '{model}' not found"));
    };
    let (details, architecture, capability) = match found {
        ModelPurpose::Embedding => (details(), "bert", "embedding"),
        ModelPurpose::Chat => (chat_details(), "llama", "completion"),
    };
    let mut info = json!({
        "general.architecture": architecture,
        "general.file_type": 1,
        "general.parameter_count": 22_565_376,
        format!("{architecture}.context_length"): script.context,
        format!("{architecture}.embedding_length"): script.dimension,
    });
    if found == ModelPurpose::Embedding {
        info["bert.pooling_type"] = json!(1);
    }
    let mut answer = json!({
        "modelfile": "# Modelfile generated by \"ollama show\"\n",
        "template": "{{ .Prompt }}",
        "details": details,
        "model_info": info,
        "modified_at": "2026-01-01T00:00:00.000000000Z",
    });
    if version.since("0.6.1") {
        answer["tensors"] = json!([]);
    }
    if version.since("0.6.4") {
        answer["capabilities"] = json!([capability]);
    }
    (200, answer)
}

/// A pull, line by line; the name says how it ends.
fn pull(body: &[u8]) -> Response<Body> {
    let model = match decode(body).and_then(|body| string_field(&body, "model", "PullRequest")) {
        Ok(model) => model,
        Err(answer) => return reply(answer),
    };
    if model.is_empty() {
        return reply(error(400, "invalid model name"));
    }
    let layer = "sha256:797b70c4edf85907fe0a49eb85811256f65fa0f7bf52166b147fd16be2be4662";
    let mut lines = vec![json!({ "status": "pulling manifest" })];
    if model.starts_with("unknown") {
        lines.push(json!({ "error": "pull model manifest: file does not exist" }));
    } else {
        for completed in [0, 15_000_000, 45_949_216] {
            let mut line = json!({ "status": "pulling 797b70c4edf8", "digest": layer, "total": 45_949_216 });
            if completed > 0 {
                line["completed"] = json!(completed);
            }
            lines.push(line);
        }
        if !model.starts_with("half") {
            for status in ["verifying sha256 digest", "writing manifest", "success"] {
                lines.push(json!({ "status": status }));
            }
        }
    }
    let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
    text(200, "application/x-ndjson", &body)
}
