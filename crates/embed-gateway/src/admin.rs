//! The endpoints for probes, scrapers and the page: liveness, readiness, metrics and status.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::State as Shared;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use embed_core::ModelInfo;
use serde_json::{Value, json};

use crate::failure::{Failure, Outcome, SOON};
use crate::state::State;

/// `GET /healthz`: the process answers. Nothing else is checked, since a restart would fix nothing else.
pub(crate) async fn alive() -> Json<Value> {
    Json(json!({ "status": "alive" }))
}

/// `GET /readyz`: requests would be answered.
pub(crate) async fn ready(Shared(state): Shared<Arc<State>>) -> Response {
    if state.draining.load(Ordering::Relaxed) {
        return unready("draining");
    }
    let health = state.health().await;
    // The reason may contain addresses, so it is only in /status, which needs a key.
    let status = health.status().as_str();
    if health.is_available() { Json(json!({ "status": status })).into_response() } else { unready(status) }
}

fn unready(status: &str) -> Response {
    let after = [(header::RETRY_AFTER, SOON.as_secs())];
    (StatusCode::SERVICE_UNAVAILABLE, after, Json(json!({ "status": status }))).into_response()
}

/// Whether requests would be answered.
pub(crate) async fn is_ready(state: &State) -> bool {
    !state.draining.load(Ordering::Relaxed) && state.health().await.is_available()
}

/// `GET /status`: the state of gateway, models, routes and caches.
pub(crate) async fn status(Shared(state): Shared<Arc<State>>) -> Json<Value> {
    let health = state.health().await;
    let traffic = state.admission.traffic();
    let stack = state.extensions.status.as_ref().map(|status| status()).unwrap_or_default();
    let models: Vec<_> = state
        .catalogue()
        .models()
        .map(|model| {
            let (assumed, info) = (&model.entry.info, model.info());
            json!({
                "name": model.entry.name, "aliases": model.entry.aliases, "service": assumed.service(),
                "model": assumed.name(), "space": info.map(|info| info.space().id()),
                "variant": info.map(|info| info.variant().id()), "dimensions": info.map(ModelInfo::dimension),
                "max_tokens": info.and_then(ModelInfo::max_tokens), "available": model.is_there(),
                "role": model.entry.role, "mixed": model.entry.mixed,
            })
        })
        .collect();
    Json(json!({
        "gateway": {
            "version": env!("CARGO_PKG_VERSION"),
            "uptime_seconds": state.started.elapsed().as_secs(),
            "draining": state.draining.load(Ordering::Relaxed),
            "connections": state.slots.open(), "connection_limit": state.slots.limit(),
            "in_flight": traffic.in_flight, "waiting": traffic.waiting,
            "accepted": traffic.accepted, "refused": traffic.refused,
        },
        "health": {
            "status": health.status().as_str(),
            "reason": health.reason().map(ToString::to_string),
        },
        "models": models,
        "routes": stack.routes,
        "caches": stack.caches,
    }))
}

/// `GET /metrics`.
pub(crate) async fn metrics(Shared(state): Shared<Arc<State>>) -> Outcome {
    let metrics = state.extensions.metrics.as_ref();
    let metrics =
        metrics.ok_or_else(|| Failure::not_set_up("no exporter of metrics is behind this gateway"))?;
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    Ok((kind, metrics()).into_response())
}
