//! Ollama's endpoints about models and the server.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Json;
use axum::body::Body;
use axum::extract::State as Shared;
use axum::response::IntoResponse;
use embed_core::{ModelInfo, Pooling};
use serde_json::{Value as Out, json};

use super::go;
use crate::api::fields::unknown_model;
use crate::catalogue::Model;
use crate::failure::{Failure, Outcome};
use crate::json::{Fields, Reading};
use crate::state::State;

/// Nothing is ever unloaded; Ollama then shows the latest time that Go can represent.
const FOREVER: Duration = Duration::from_secs(290 * 365 * 24 * 3600);

/// `GET /api/version`.
pub(crate) async fn version(Shared(state): Shared<Arc<State>>) -> Json<Out> {
    Json(json!({ "version": state.config.ollama_version }))
}

/// `GET /api/tags`.
pub(crate) async fn tags(Shared(state): Shared<Arc<State>>) -> Json<Out> {
    let catalogue = state.catalogue();
    let models = catalogue.models().map(|model| {
        let mut entry = entry(model);
        entry["modified_at"] = time(model.modified);
        entry
    });
    Json(json!({ "models": models.collect::<Vec<_>>() }))
}

/// `GET /api/ps`: every available model counts as loaded.
pub(crate) async fn ps(Shared(state): Shared<Arc<State>>) -> Json<Out> {
    let catalogue = state.catalogue();
    let models = catalogue.models().filter(|model| model.is_there()).map(|model| {
        let mut entry = entry(model);
        entry["expires_at"] = time(SystemTime::now() + FOREVER);
        entry["size_vram"] = 0.into();
        if let Some(tokens) = model.info().and_then(ModelInfo::max_tokens) {
            entry["context_length"] = tokens.into();
        }
        entry
    });
    Json(json!({ "models": models.collect::<Vec<_>>() }))
}

/// `POST /api/show`.
pub(crate) async fn show(Shared(state): Shared<Arc<State>>, body: Body) -> Outcome {
    const REQUEST: &str = "ShowRequest";
    let received = state.bodies.read(body).await?;
    let reading = Reading { known: &[&["model", "name"]], members: &[], as_go: true, max_texts: 0 };
    let mut fields = Fields::read(&received.bytes, reading).map_err(|error| go::bad_json(&error, REQUEST))?;
    let mut name = |field| {
        let text = fields.take(field).text().map_err(|kind| go::bad_field(kind, REQUEST, field, "string"))?;
        Ok::<_, Failure>(text.filter(|name| !name.is_empty()))
    };
    let (model, alias) = (name("model")?, name("name")?);
    let model = model.or(alias).ok_or_else(|| Failure::bad_request("model is required"))?;
    let named = state
        .catalogue()
        .find(&model)
        .ok_or_else(|| unknown_model(|name| format!("model '{name}' not found"), &model))?;
    Ok(Json(description(&named.model)).into_response())
}

fn entry(model: &Model) -> Out {
    let mut entry = json!({
        "name": model.tagged, "model": model.tagged, "digest": model.digest, "details": details(model),
    });
    if let Some(size) = model.entry.details.size {
        entry["size"] = size.into();
    }
    if !model.is_there() {
        entry["available"] = false.into();
    }
    entry
}

fn details(model: &Model) -> Out {
    let details = &model.entry.details;
    if !model.is_there() {
        return json!({
            "parent_model": "", "format": "", "family": "", "families": null, "parameter_size": "", "quantization_level": "",
        });
    }
    json!({
        "parent_model": "", "format": details.format, "family": details.family(), "families": [details.family()],
        "parameter_size": details.parameter_size(), "quantization_level": details.quantization_level,
    })
}

fn description(model: &Model) -> Out {
    let info = &model.entry.info;
    let family = model.entry.details.family();
    // The numbers of llama.cpp.
    let pooling = match info.space().pooling() {
        Pooling::Cls => 2,
        Pooling::LastToken => 3,
        _ => 1,
    };
    let details = &model.entry.details;
    // The command of 0.9.3 expects this to be complete and fails otherwise; without it, it shows the details.
    let known = details.parameters.zip(info.max_tokens()).filter(|_| model.info().is_some());
    let model_info = known.map(|(parameters, tokens)| {
        json!({
            "general.architecture": family,
            "general.parameter_count": parameters,
            (format!("{family}.context_length")): tokens,
            (format!("{family}.embedding_length")): info.dimension(),
            (format!("{family}.pooling_type")): pooling,
        })
    });
    let modelfile = match model.info() {
        Some(info) => format!("# {} behind an embed gateway\n", info.variant().id()),
        None => format!("# {}: its back end isn't there yet\n", model.entry.name),
    };
    let mut description = json!({
        "modelfile": modelfile, "template": "{{ .Prompt }}",
        "details": self::details(model), "capabilities": ["embedding"], "modified_at": time(model.modified),
    });
    if let Some(model_info) = model_info {
        description["model_info"] = model_info;
    }
    description
}

fn time(at: SystemTime) -> Out {
    humantime::format_rfc3339_nanos(at).to_string().into()
}
