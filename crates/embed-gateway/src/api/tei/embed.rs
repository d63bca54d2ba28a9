//! `/embed`: texts in, rows of numbers out.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State as Shared;
use axum::http::{HeaderValue, StatusCode};
use embed_core::{EmbeddingRef, Error, Normalisation, Result};

use super::error;
use crate::answer::NORMALISED;
use crate::api::fields::{texts, wrong_kind};
use crate::api::wishes::{WISHES, Wishes};
use crate::context::Context;
use crate::embed::embed_texts;
use crate::failure::{Failure, Outcome};
use crate::json::{Fields, Reading, Value};
use crate::render::{self, Finish, Shape};
use crate::request::GatewayRequest;
use crate::state::State;

const FIELDS: &[&str] = &["inputs", "partial", "parameters"];
/// The members of the `inputs` of `/similarity`.
pub(super) const SENTENCES: &[&str] = &["source_sentence", "sentences"];

/// `POST /embed`, and `POST /`, which clients of Hugging Face's service use.
pub(crate) async fn embed(
    Shared(state): Shared<Arc<State>>,
    Extension(context): Extension<Context>,
    body: Body,
) -> Outcome {
    let received = state.bodies.read(body).await?;
    let (mut request, finish, raw_refused) = parse(&received.bytes, &state)?;
    request.share = received.share;
    let answer = embed_texts(&state, request, &context).await?;
    let mut response = render::respond(answer, Rows { finish });
    // Haystack requests raw vectors by default but accepts normalised ones; clients that need raw ones see the header.
    if raw_refused {
        response.headers_mut().insert(NORMALISED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

pub(crate) fn parse(body: &[u8], state: &State) -> Result<(GatewayRequest, Finish, bool), Failure> {
    let limit = state.config.limits.rows;
    let mut fields = read(body, state)?;
    let inputs = texts(fields.take("inputs"), "inputs", limit)?.ok_or_else(|| {
        Failure::bad_request("`inputs` must be a string or an array of strings").with_param("inputs")
    })?;
    if inputs.is_empty() {
        return Err(Failure::new(StatusCode::BAD_REQUEST, "empty", "`inputs` cannot be empty"));
    }
    let partial = fields.take("partial").bool();
    let partial = partial.map_err(|kind| wrong_kind("partial", "true or false", kind))?;
    let (mut request, wishes) = request_of(&mut fields, inputs, state)?;
    request.partial = partial.unwrap_or(false);
    let normalise = wishes.normalise.unwrap_or(true);
    let raw_refused = !normalise && request.model.entry.info.space().normalisation() == Normalisation::L2;
    let finish = Finish { dimension: request.dimension, normalise };
    Ok((request, finish, raw_refused))
}

/// The fields of a request, including those in `parameters`, where Hugging Face's service has them.
pub(super) fn read(body: &[u8], state: &State) -> Result<Fields, Failure> {
    let known: &[&[&str]] = &[FIELDS, &WISHES];
    let members: &[&[&str]] = &[SENTENCES, &WISHES];
    let reading = Reading { known, members, as_go: false, max_texts: state.config.limits.rows };
    let mut fields = Fields::read(body, reading)?;
    match fields.take("parameters") {
        Value::Null => {}
        Value::Object(members) => fields.adopt(members),
        other => return Err(wrong_kind("parameters", "an object", other.kind())),
    }
    Ok(fields)
}

/// A request for the vectors of texts. The first model of the settings answers, since a request can't name one, and a long
/// text is cut unless the request says otherwise.
pub(super) fn request_of(
    fields: &mut Fields,
    inputs: Vec<Arc<str>>,
    state: &State,
) -> Result<(GatewayRequest, Wishes), Failure> {
    let model = state.catalogue().first();
    let wishes = Wishes::take(fields, &model.entry.info)?;
    if let Some(field) = wishes.base64 {
        let message = format!("`{field}` can only be float here: /v1/embeddings also writes base64");
        return Err(Failure::bad_request(message).with_param(field));
    }
    let mut request = GatewayRequest::new(model, inputs);
    request.truncation = wishes.truncation_or_end();
    request.role = wishes.role.unwrap_or(request.role);
    request.dimension = wishes.dimension_of(&request.model)?;
    Ok((request, wishes))
}

/// `[[…],[…]]`; in a partial answer a failed text has an error instead.
struct Rows {
    finish: Finish,
}

impl Shape for Rows {
    fn head(&mut self, out: &mut Vec<u8>) {
        out.push(b'[');
    }

    fn row(&mut self, out: &mut Vec<u8>, index: usize, row: Result<EmbeddingRef<'_>, &Error>) {
        render::comma(out, index);
        match row.map_err(Clone::clone).and_then(|row| self.finish.apply(row)) {
            Ok(values) => render::floats(out, &values),
            Err(error) => {
                let body = error::error(&Failure::of_row(error, index));
                out.extend_from_slice(body.to_string().as_bytes());
            }
        }
    }

    fn tail(&mut self, out: &mut Vec<u8>) {
        out.push(b']');
    }
}
