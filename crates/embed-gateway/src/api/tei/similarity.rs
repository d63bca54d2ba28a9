//! `/similarity`: the similarity of sentences to a source sentence.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State as Shared;
use axum::response::IntoResponse;
use axum::{Extension, Json};
use embed_core::{EmbedResponse, Error, ErrorKind, Result, vector};

use super::embed::{SENTENCES, read, request_of};
use crate::api::fields::{strings, wrong_kind};
use crate::context::Context;
use crate::embed::embed_texts;
use crate::failure::{Failure, Outcome};
use crate::json::Value;
use crate::request::GatewayRequest;
use crate::state::State;

/// `POST /similarity`.
pub(crate) async fn similarity(
    Shared(state): Shared<Arc<State>>,
    Extension(context): Extension<Context>,
    body: Body,
) -> Outcome {
    let received = state.bodies.read(body).await?;
    let mut request = parse(&received.bytes, &state)?;
    request.share = received.share;
    let answer = embed_texts(&state, request, &context).await?;
    let mut rows = answer.pieces.iter().flat_map(EmbedResponse::rows);
    let none = || Error::new(ErrorKind::Internal, "the stack returned no row");
    let source = rows.next().ok_or_else(none)?.map_err(Clone::clone)?;
    let near = rows.map(|row| vector::cosine(source.vector(), row.map_err(Clone::clone)?.vector()));
    let near: Vec<f32> = near.collect::<Result<_>>()?;
    let headers: axum::http::HeaderMap = answer.headers().collect();
    let mut response = (headers, Json(near)).into_response();
    response.extensions_mut().insert(answer.record);
    Ok(response)
}

/// The request's texts are the source, followed by the sentences.
pub(crate) fn parse(body: &[u8], state: &State) -> Result<GatewayRequest, Failure> {
    let [source_field, sentences_field] = [SENTENCES[0], SENTENCES[1]];
    let mut fields = read(body, state)?;
    let mut inputs = match fields.take("inputs") {
        Value::Object(members) => members,
        other => {
            let what = "an object with `source_sentence` and `sentences`";
            return Err(wrong_kind("inputs", what, other.kind()));
        }
    };
    let mut member = |name| {
        let at = inputs.iter().position(|(known, _)| *known == name);
        at.map_or(Value::Null, |at| inputs.swap_remove(at).1)
    };
    let source = match member(source_field) {
        Value::Text(text) => text,
        other => return Err(wrong_kind(source_field, "a string", other.kind())),
    };
    let sentences = match member(sentences_field) {
        Value::List(list) => strings(list, sentences_field, state.config.limits.rows)?,
        other => return Err(wrong_kind(sentences_field, "an array of strings", other.kind())),
    };
    if sentences.is_empty() {
        let message = "`sentences` cannot be empty";
        return Err(Failure::new(axum::http::StatusCode::BAD_REQUEST, "empty", message));
    }
    let texts = std::iter::once(source).chain(sentences).collect();
    Ok(request_of(&mut fields, texts, state)?.0)
}
