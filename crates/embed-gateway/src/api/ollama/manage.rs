//! Other operations of Ollama's clients on models: pulling an available model succeeds, everything else is refused.

use std::sync::Arc;
use std::time::SystemTime;

use axum::Json;
use axum::body::Body;
use axum::extract::State as Shared;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::go;
use crate::api::fields::unknown_model;
use crate::catalogue::NamedModel;
use crate::failure::{Failure, Outcome};
use crate::json::{Fields, Reading, Value};
use crate::state::State;

/// The fields of a request that matter here.
struct ManageRequest {
    model: Arc<str>,
    stream: bool,
    /// The request only unloads the model.
    unload: bool,
}

/// `POST /api/pull`: a served model is already available, so there is nothing to do.
pub(crate) async fn pull(Shared(state): Shared<Arc<State>>, body: Body) -> Outcome {
    let asked = ManageRequest::read(&state, body, "PullRequest").await?;
    if asked.model.is_empty() {
        return Err(Failure::bad_request("invalid model name"));
    }
    state.catalogue().find(&asked.model).ok_or_else(|| {
        unknown_model(
            |name| format!("model '{name}' isn't served here, and this gateway pulls none: GET /api/tags names those there are"),
            &asked.model,
        )
    })?;
    if !asked.stream {
        return Ok(Json(json!({ "status": "success" })).into_response());
    }
    let steps = "{\"status\":\"pulling manifest\"}\n{\"status\":\"success\"}\n";
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], steps).into_response())
}

/// `POST /api/generate`, with the errors of an Ollama that has an embedding model.
pub(crate) async fn generate(Shared(state): Shared<Arc<State>>, body: Body) -> Outcome {
    let asked = ManageRequest::read(&state, body, "GenerateRequest").await?;
    asked.find(&state, |name| format!("model '{name}' not found"))?;
    if asked.unload {
        return Ok(asked.unloaded(json!({ "response": "" })));
    }
    Err(asked.does_not("generate"))
}

/// `POST /api/chat`, likewise.
pub(crate) async fn chat(Shared(state): Shared<Arc<State>>, body: Body) -> Outcome {
    let asked = ManageRequest::read(&state, body, "ChatRequest").await?;
    asked.find(&state, |name| format!("model {name:?} not found, try pulling it first"))?;
    if asked.unload {
        return Ok(asked.unloaded(json!({ "message": { "role": "assistant", "content": "" } })));
    }
    Err(asked.does_not("chat"))
}

/// `/api/create`, `/api/copy`, `/api/push`, `/api/delete` and blobs.
pub(crate) async fn unmanaged() -> Failure {
    let message = "models are chosen where this gateway is started: it makes, copies, sends and deletes none";
    Failure::not_set_up(message)
}

impl ManageRequest {
    async fn read(state: &State, body: Body, request: &'static str) -> Result<Self, Failure> {
        let received = state.bodies.read(body).await?;
        let reading = Reading {
            known: &[&["model", "name", "stream", "prompt", "messages", "keep_alive"]],
            members: &[],
            as_go: true,
            max_texts: 0,
        };
        let mut fields =
            Fields::read(&received.bytes, reading).map_err(|error| go::bad_json(&error, request))?;
        let mut name =
            |field| fields.take(field).text().map_err(|kind| go::bad_field(kind, request, field, "string"));
        let (model, older) = (name("model")?, name("name")?);
        let model = model.filter(|name| !name.is_empty()).or(older).unwrap_or_default();
        let stream = fields.take("stream").bool();
        let stream = stream.map_err(|kind| go::bad_field(kind, request, "stream", "bool"))?;
        let asks_nothing = match (fields.take("prompt"), fields.take("messages")) {
            (Value::Null, Value::Null) => true,
            (Value::Text(prompt), Value::Null) => prompt.is_empty(),
            (Value::Null, Value::List(messages)) => messages.texts.is_empty() && messages.odd.is_none(),
            _ => false,
        };
        let unload = go::is_zero(&fields.take("keep_alive")) && asks_nothing;
        Ok(Self { model, stream: stream.unwrap_or(true), unload })
    }

    fn find(&self, state: &State, message: impl FnOnce(&str) -> String) -> Result<NamedModel, Failure> {
        state.catalogue().find(&self.model).ok_or_else(|| unknown_model(message, &self.model))
    }

    /// Ollama's answer to unloading a model (`ollama stop`, and `ollama rm` at first). Here it has no effect.
    fn unloaded(&self, with: serde_json::Value) -> Response {
        let now = humantime::format_rfc3339_nanos(SystemTime::now()).to_string();
        let mut answer =
            json!({ "model": &*self.model, "created_at": now, "done": true, "done_reason": "unload" });
        if let (Some(answer), serde_json::Value::Object(mut with)) = (answer.as_object_mut(), with) {
            answer.append(&mut with);
        }
        Json(answer).into_response()
    }

    fn does_not(&self, what: &str) -> Failure {
        Failure::bad_request(format!("{:?} does not support {what}", &*self.model))
    }
}
