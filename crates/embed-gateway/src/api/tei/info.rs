//! `/info` and `/health`, and endpoints that an embedding model doesn't support.

use std::sync::Arc;

use axum::Json;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use embed_core::{ModelInfo, Pooling};
use serde_json::{Value as Out, json};

use crate::failure::Failure;
use crate::state::State;

/// `GET /info`.
pub(crate) async fn info(Shared(state): Shared<Arc<State>>) -> Json<Out> {
    let model = state.catalogue().first();
    let info = model.info();
    let pooling = info.map(|info| match info.space().pooling() {
        Pooling::Cls => "cls",
        Pooling::LastToken => "last_token",
        _ => "mean",
    });
    let max_tokens = info.and_then(ModelInfo::max_tokens);
    let admission = &state.config.admission;
    Json(json!({
        "model_id": model.entry.name, "model_sha": info.map(|_| &model.digest),
        "model_dtype": model.entry.details.dtype,
        "model_type": { "embedding": { "pooling": pooling } },
        "max_concurrent_requests": admission.concurrency + admission.queue,
        "max_input_length": max_tokens,
        "max_batch_tokens": max_tokens.map(|tokens| tokens * admission.piece_rows),
        "max_batch_requests": null,
        "max_client_batch_size": state.config.limits.rows,
        "auto_truncate": true,
        "tokenization_workers": 0,
        "version": env!("CARGO_PKG_VERSION"), "sha": null, "docker_label": null,
    }))
}

/// `GET /health`: like `/readyz`, in TEI's format.
pub(crate) async fn health(Shared(state): Shared<Arc<State>>) -> Response {
    if crate::admin::is_ready(&state).await {
        return StatusCode::OK.into_response();
    }
    Failure::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "unhealthy").into_response()
}

/// `POST /rerank`, `/predict`, `/embed_all`, `/embed_sparse`: endpoints of other kinds of models, with TEI's status for
/// them.
pub(crate) async fn other_kind() -> Failure {
    let message = "the model gives one vector for each text and does nothing else: use /embed or /similarity";
    Failure::new(StatusCode::FAILED_DEPENDENCY, "other_kind", message)
}
