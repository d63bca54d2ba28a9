//! The native endpoints: plans, decisions of the router, and the API description.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State as Shared;
use axum::http::header;
use axum::response::IntoResponse;
use bytes::Bytes;
use embed_core::{Coverage, EmbedRequest, Embedding, Error, ErrorKind, Result, Role, Truncation};
use serde_json::json;

use super::fields::{texts, wrong_kind};
use super::wishes::{WISHES, Wishes};
use crate::context::Context;
use crate::embed::cut;
use crate::failure::{Failure, Outcome};
use crate::hooks::Plan;
use crate::json::{Fields, Reading, Value};
use crate::render;
use crate::state::State;

/// The description of every path, written by hand; a test compares it with the paths and the answers.
const OPENAPI: &str = include_str!("../../openapi.json");

const FIELDS: &[&str] = &["input", "coverage"];

/// The fields of both requests.
pub(crate) struct PlanForm {
    pub(crate) texts: Vec<Arc<str>>,
    role: Option<Role>,
    coverage: Coverage,
    truncation: Truncation,
}

/// `POST /route`: where texts would go, and why.
pub(crate) async fn route(
    Shared(state): Shared<Arc<State>>,
    Extension(context): Extension<Context>,
    body: Body,
) -> Outcome {
    let explainer = state.extensions.explainer.as_ref();
    let explainer = explainer.ok_or_else(|| Failure::not_set_up("no router is behind this gateway"))?;
    let received = state.bodies.read(body).await?;
    let form = PlanForm::read_aside(received.bytes, &state).await?;
    let role = form.role.unwrap_or(Role::Document);
    let mut out = br#"{"routes":["#.to_vec();
    let mut permit = Some(state.admission.enter(context.caller, context.deadline).await?);
    for cut in cut(&form.texts, &state.config.admission) {
        let permit = state.admission.turn(permit.take(), context.caller, context.deadline).await?;
        render::comma(&mut out, cut.start);
        let texts = form.texts[cut].to_vec();
        let (explainer, partition) = (Arc::clone(explainer), context.partition.clone());
        // The work keeps the permit, because it goes on even if no caller waits for it.
        let explained = aside(move || {
            let explain = |text: &Arc<str>| json!(explainer.explain(text, role, partition.as_deref()));
            let routes: Vec<_> = texts.iter().map(|text| explain(text).to_string()).collect();
            (routes.join(","), permit)
        });
        let (routes, permit) = context.limit(explained).await?;
        permit.done();
        out.extend_from_slice(routes.as_bytes());
    }
    out.extend_from_slice(b"]}");
    drop(received.share);
    Ok(([(header::CONTENT_TYPE, "application/json")], out).into_response())
}

/// Runs CPU-bound work on a blocking thread.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        // The middleware turns a panic into an answer.
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}

/// `POST /embed/plan`: the vectors to search with, or to store.
pub(crate) async fn plan(
    Shared(state): Shared<Arc<State>>,
    Extension(context): Extension<Context>,
    body: Body,
) -> Outcome {
    let planner = state.extensions.planner.as_ref();
    let planner = planner.ok_or_else(|| Failure::not_set_up("no router is behind this gateway"))?;
    let received = state.bodies.read(body).await?;
    let form = PlanForm::read_aside(received.bytes, &state).await?;
    let role = form.role.ok_or_else(|| {
        Failure::bad_request("`role` must say whether the texts are queries or documents").with_param("role")
    })?;
    let options = context.options(role, form.truncation);
    let mut out = br#"{"plans":["#.to_vec();
    let mut permit = Some(state.admission.enter(context.caller, context.deadline).await?);
    for cut in cut(&form.texts, &state.config.admission) {
        let permit = state.admission.turn(permit.take(), context.caller, context.deadline).await?;
        let (start, texts) = (cut.start, &form.texts[cut]);
        let request = EmbedRequest::new(texts, &options);
        let plans = context.limit(planner.plan(request, form.coverage)).await?;
        // A failed call also counts as done, unlike a cancelled one.
        permit.done();
        let plans = plans?;
        if plans.len() != texts.len() {
            return Err(Error::new(ErrorKind::Protocol, "the planner didn't return one plan per text").into());
        }
        for (index, plan) in plans.iter().enumerate() {
            render::comma(&mut out, start + index);
            write_plan(&mut out, plan);
        }
    }
    out.extend_from_slice(b"]}");
    drop(received.share);
    Ok(([(header::CONTENT_TYPE, "application/json")], out).into_response())
}

impl PlanForm {
    /// Parses a body that may be large, on a blocking thread.
    async fn read_aside(body: Bytes, state: &Arc<State>) -> Result<Self, Failure> {
        let state = Arc::clone(state);
        aside(move || Self::read(&body, &state)).await
    }

    pub(crate) fn read(body: &[u8], state: &State) -> Result<Self, Failure> {
        let limit = state.config.limits.rows;
        let mut fields = Fields::read(
            body,
            Reading { known: &[FIELDS, &WISHES], members: &[], as_go: false, max_texts: limit },
        )?;
        let input = texts(fields.take("input"), "input", limit)?.filter(|texts| !texts.is_empty());
        let texts = input.ok_or_else(|| {
            Failure::bad_request("`input` must be a string or an array of at least one string")
                .with_param("input")
        })?;
        let coverage = match word(fields.take("coverage"), "coverage")? {
            None => Coverage::default(),
            Some(name) => name.parse().map_err(|_| {
                Failure::bad_request("`coverage` must be route or reachable").with_param("coverage")
            })?,
        };
        let model = state.catalogue().first();
        let info = &model.entry.info;
        let wishes = Wishes::take(&mut fields, info)?;
        wishes.check_normalise(info)?;
        if wishes.dimension.is_some() || wishes.base64.is_some() {
            let message =
                "vectors of several spaces are neither cut nor written as base64: leave that field out";
            return Err(Failure::bad_request(message));
        }
        Ok(Self { texts, role: wishes.role, coverage, truncation: wishes.truncation.unwrap_or_default() })
    }
}

/// The error object, which also replaces a failed vector of a plan.
pub(crate) fn error(failure: &Failure) -> serde_json::Value {
    let mut error = json!({ "code": failure.code, "message": failure.full_message() });
    if let Some(row) = failure.row {
        error["row"] = row.into();
    }
    json!({ "error": error })
}

fn word(value: Value, field: &'static str) -> Result<Option<Arc<str>>, Failure> {
    value.text().map_err(|kind| wrong_kind(field, "a string", kind))
}

fn write_plan(out: &mut Vec<u8>, plan: &Plan) {
    out.extend_from_slice(br#"{"vectors":["#);
    for (number, vector) in plan.vectors.iter().enumerate() {
        if number > 0 {
            out.push(b',');
        }
        match vector {
            Ok(vector) => write_vector(out, vector),
            Err(failed) => {
                let body = error(&Failure::from(failed.clone()));
                out.extend_from_slice(body.to_string().as_bytes());
            }
        }
    }
    out.extend_from_slice(b"]}");
}

fn write_vector(out: &mut Vec<u8>, vector: &Embedding) {
    let info = vector.info();
    let head = json!({
        "space": vector.space().id(), "model": info.model.name(), "route": info.route.as_deref(),
        "truncated": info.truncated,
    });
    let head = head.to_string();
    // The numbers go into the same object.
    out.extend_from_slice(head.trim_end_matches('}').as_bytes());
    out.extend_from_slice(br#","embedding":"#);
    render::floats(out, vector.vector());
    out.push(b'}');
}

/// `GET /openapi.json`.
pub(crate) async fn openapi() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI)
}
