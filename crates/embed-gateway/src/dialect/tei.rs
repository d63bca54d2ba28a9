//! The dialect of Hugging Face's text-embeddings-inference: `/embed`, `/info`, `/health`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State as Shared;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json, http::StatusCode};
use embed_core::{EmbeddingRef, Error, Normalisation, Pooling, Result, Role, Truncation};
use serde_json::{Value as Out, json};

use crate::call::Ask;
use crate::dialect::{texts, wrong_kind};
use crate::failure::{Dialect, Failure, Outcome};
use crate::front::Context;
use crate::json::{Fields, Reading};
use crate::render::{self, Finish, Shape};
use crate::state::State;

const FIELDS: &[&str] =
    &["inputs", "truncate", "truncation_direction", "prompt_name", "normalize", "dimensions", "partial"];

/// `POST /embed`. The first model of the settings answers, since a request can't name one.
pub(crate) async fn embed(
    Shared(state): Shared<Arc<State>>,
    Extension(context): Extension<Context>,
    body: Body,
) -> Outcome {
    let received = state.bodies.read(body).await?;
    let (mut ask, finish) = parse(&received.bytes, &state)?;
    ask.share = received.share;
    let answer = state.embed(ask, &context).await?;
    Ok(render::respond(answer, Rows { finish, rows: 0 }))
}

pub(crate) fn parse(body: &[u8], state: &State) -> Result<(Ask, Finish), Failure> {
    let limit = state.config.limits.rows;
    let mut fields =
        Fields::read(body, Reading { known: FIELDS, members: &[], as_go: false, max_texts: limit })?;
    let inputs = texts(fields.take("inputs"), "inputs", limit)?.ok_or_else(|| {
        Failure::bad_request("`inputs` must be a string or an array of strings").with_param("inputs")
    })?;
    if inputs.is_empty() {
        return Err(Failure::new(StatusCode::BAD_REQUEST, "empty", "`inputs` cannot be empty"));
    }
    let mut flag = |name| fields.take(name).bool().map_err(|kind| wrong_kind(name, "true or false", kind));
    let truncate = flag("truncate")?.unwrap_or(true);
    let normalise = flag("normalize")?.unwrap_or(true);
    let partial = flag("partial")?.unwrap_or(false);
    let mut word = |name| fields.take(name).text().map_err(|kind| wrong_kind(name, "a string", kind));
    let direction = word("truncation_direction")?;
    let prompt = word("prompt_name")?;
    let dimensions = fields.take("dimensions").integer();
    let dimensions = dimensions.map_err(|kind| wrong_kind("dimensions", "a whole number", kind))?;

    let mut ask = Ask::new(Arc::clone(state.catalogue.first()), inputs);
    ask.partial = partial;
    // The side that is cut off, as tokenizers have it.
    ask.truncation = match direction.as_deref().map(str::to_ascii_lowercase).as_deref() {
        _ if !truncate => Truncation::Error,
        None | Some("right") => Truncation::End,
        Some("left") => Truncation::Start,
        Some(_) => {
            return Err(Failure::bad_request("`truncation_direction` must be \"Left\" or \"Right\"")
                .with_param("truncation_direction"));
        }
    };
    ask.role = match prompt.as_deref() {
        None => ask.role,
        Some("query") => Role::Query,
        Some("passage" | "document") => Role::Document,
        Some(_) => {
            let message = "`prompt_name` must be query, passage or document";
            return Err(Failure::bad_request(message).with_param("prompt_name"));
        }
    };
    let info = &ask.offer.entry.info;
    if !normalise && info.space().normalisation() == Normalisation::L2 {
        let message = "`normalize` can't be false: this model's vectors are normalised where they are made";
        return Err(Failure::bad_request(message).with_param("normalize"));
    }
    if let Some(asked) = dimensions {
        let most = info.dimension();
        let dimension = usize::try_from(asked).ok().filter(|dimension| (1..=most).contains(dimension));
        ask.dimension = Some(dimension.ok_or_else(|| {
            Failure::bad_request(format!("`dimensions` must be 1 to {most}")).with_param("dimensions")
        })?);
    }
    let finish = Finish { dimension: ask.dimension, normalise };
    Ok((ask, finish))
}

/// `[[…],[…]]`; in a partial answer a failed text is its error.
struct Rows {
    finish: Finish,
    rows: usize,
}

impl Shape for Rows {
    fn head(&mut self, out: &mut Vec<u8>) {
        out.push(b'[');
    }

    fn row(&mut self, out: &mut Vec<u8>, index: usize, row: Result<EmbeddingRef<'_>, &Error>) {
        if self.rows > 0 {
            out.push(b',');
        }
        self.rows += 1;
        match row.map_err(Clone::clone).and_then(|row| self.finish.apply(row)) {
            Ok(values) => render::floats(out, &values),
            Err(error) => {
                let body = Failure::of_row(error, index).body(Dialect::Tei);
                out.extend_from_slice(body.to_string().as_bytes());
            }
        }
    }

    fn tail(&mut self, out: &mut Vec<u8>) {
        out.push(b']');
    }
}

/// `GET /info`.
pub(crate) async fn info(Shared(state): Shared<Arc<State>>) -> Json<Out> {
    let offer = state.catalogue.first();
    let info = &offer.entry.info;
    let pooling = match info.space().pooling() {
        Pooling::Cls => "cls",
        Pooling::LastToken => "last_token",
        _ => "mean",
    };
    let admission = &state.config.admission;
    Json(json!({
        "model_id": offer.entry.name, "model_sha": offer.digest, "model_dtype": "float32",
        "model_type": { "embedding": { "pooling": pooling } },
        "max_concurrent_requests": admission.concurrency + admission.queue,
        "max_input_length": info.max_tokens(),
        "max_batch_tokens": info.max_tokens().map(|tokens| tokens * admission.piece_rows),
        "max_batch_requests": null,
        "max_client_batch_size": state.config.limits.rows,
        "auto_truncate": true,
        "tokenization_workers": 0,
        "version": env!("CARGO_PKG_VERSION"), "sha": null, "docker_label": null,
    }))
}

/// `GET /health`: as `/readyz`, in TEI's words.
pub(crate) async fn health(Shared(state): Shared<Arc<State>>) -> Response {
    if crate::health::is_ready(&state).await {
        return StatusCode::OK.into_response();
    }
    Failure::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "unhealthy").into_response()
}
