//! The dialect of OpenAI: `/v1/embeddings`, which TEI also has as `/embeddings`, and `/v1/models`.

mod error;

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State as Shared};
use axum::response::IntoResponse;
use axum::{Json, http::StatusCode};
use embed_core::{EmbeddingRef, Error, ModelInfo, Result, Space};
pub(crate) use error::error;
use serde_json::{Value as Out, json};

use crate::answer::Answer;
use crate::api::fields::{texts, unknown_model, wrong_kind};
use crate::api::wishes::{WISHES, Wishes};
use crate::catalogue::{Model, NamedModel};
use crate::context::Context;
use crate::embed::embed_texts;
use crate::failure::{Failure, Outcome};
use crate::json::{Fields, Reading};
use crate::render::{self, Finish, Shape};
use crate::request::GatewayRequest;
use crate::state::State;

const FIELDS: &[&str] = &["model", "input", "encoding_format", "user", "partial", "details"];

/// `POST /v1/embeddings`.
pub(crate) async fn embeddings(
    Shared(state): Shared<Arc<State>>,
    Extension(context): Extension<Context>,
    body: Body,
) -> Outcome {
    let received = state.bodies.read(body).await?;
    let (mut request, form) = parse(&received.bytes, &state)?;
    request.share = received.share;
    let finish = Finish { dimension: request.dimension, normalise: form.normalise };
    let say_space = form.details || request.model.entry.mixed;
    let answer = embed_texts(&state, request, &context).await?;
    let usage = Usage::of(&answer);
    Ok(render::respond(answer, ListAnswer { form, finish, say_space, usage }))
}

/// The format of the answer.
#[derive(Debug)]
pub(crate) struct AnswerForm {
    /// The requested name, which the answer repeats.
    model: Arc<str>,
    base64: bool,
    details: bool,
    normalise: bool,
}

pub(crate) fn parse(body: &[u8], state: &State) -> Result<(GatewayRequest, AnswerForm), Failure> {
    let limit = state.config.limits.rows;
    let known = Reading { known: &[FIELDS, &WISHES], members: &[], as_go: false, max_texts: limit };
    let mut fields = Fields::read(body, known)?;
    let model = fields.take("model").text().map_err(|kind| wrong_kind("model", "a string", kind))?;
    let (named, model) = named(model, state)?;
    let input = texts(fields.take("input"), "input", limit)?.filter(|texts| !texts.is_empty());
    let input = input.ok_or_else(|| {
        Failure::bad_request("`input` must be a string or an array of at least one string")
            .with_param("input")
    })?;

    let info = &named.model.entry.info;
    let wishes = Wishes::take(&mut fields, info)?;
    wishes.check_normalise(info)?;
    let mut request = GatewayRequest::new(Arc::clone(&named.model), input);
    request.rows_say_space = true;
    request.role = wishes.role_beside(named.role)?.unwrap_or(request.role);
    request.truncation = wishes.truncation.unwrap_or(request.truncation);
    request.dimension = wishes.dimension_of(&named.model)?;
    let flag = |value: crate::json::Value, name| {
        value.bool().map_err(|kind| wrong_kind(name, "true or false", kind))
    };
    request.partial = flag(fields.take("partial"), "partial")?.unwrap_or(false);
    let details = flag(fields.take("details"), "details")?.unwrap_or(false);
    // Accepted because clients send it, but without effect: an end user isn't a collection.
    fields.take("user").text().map_err(|kind| wrong_kind("user", "a string", kind))?;
    let format = fields.take("encoding_format").text();
    let base64 = match format.map_err(|kind| wrong_kind("encoding_format", "a string", kind))?.as_deref() {
        None => wishes.base64.is_some(),
        Some("float") => false,
        Some("base64") => true,
        Some(_) => {
            return Err(Failure::bad_request("`encoding_format` must be \"float\" or \"base64\"")
                .with_param("encoding_format"));
        }
    };
    Ok((request, AnswerForm { model, base64, details, normalise: wishes.normalise == Some(true) }))
}

/// The model that a request names, and the name that the answer repeats. TEI's clients name none and get the first model.
fn named(model: Option<Arc<str>>, state: &State) -> Result<(NamedModel, Arc<str>), Failure> {
    let Some(model) = model else {
        let model = state.catalogue().first();
        let name = model.entry.name.as_str().into();
        return Ok((NamedModel { model, role: None }, name));
    };
    if model.is_empty() {
        let message = "`model` is empty: name a model, or leave it out for the first of GET /v1/models";
        return Err(Failure::bad_request(message).with_param("model"));
    }
    let named = state.catalogue().find(&model).ok_or_else(|| {
        unknown_model(
            |name| format!("The model `{name}` does not exist; GET /v1/models names those that do"),
            &model,
        )
    })?;
    Ok((named, model))
}

/// `{"object":"list","data":[…],"model":…,"usage":…}`.
struct ListAnswer {
    form: AnswerForm,
    finish: Finish,
    /// Each row names its space.
    say_space: bool,
    usage: Usage,
}

/// The tokens of all texts. OpenAI's answers always have them, and clients add them up.
struct Usage {
    tokens: usize,
    /// The stack doesn't count tokens, which the answer says.
    estimated: bool,
}

impl Usage {
    /// Bytes per token, as in English text.
    const BYTES: usize = 4;

    fn of(answer: &Answer) -> Self {
        // A text has at least one, so an unknown count never looks like zero.
        let estimate = || answer.record.bytes.div_ceil(Self::BYTES).max(answer.rows());
        Self {
            tokens: answer.record.tokens.unwrap_or_else(estimate),
            estimated: answer.record.tokens.is_none(),
        }
    }
}

impl Shape for ListAnswer {
    fn head(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(br#"{"object":"list","data":["#);
    }

    fn row(&mut self, out: &mut Vec<u8>, index: usize, row: Result<EmbeddingRef<'_>, &Error>) {
        render::comma(out, index);
        out.extend_from_slice(br#"{"object":"embedding","index":"#);
        render::integer(out, index);
        let finished = row.map_err(Clone::clone).and_then(|row| Ok((row, self.finish.apply(row)?)));
        match finished {
            Ok((row, values)) => {
                out.extend_from_slice(br#","embedding":"#);
                if self.form.base64 {
                    render::base64(out, &values);
                } else {
                    render::floats(out, &values);
                }
                if self.say_space {
                    self.space(out, row, values.len());
                }
                if self.form.details {
                    details(out, row);
                }
            }
            Err(error) => {
                out.extend_from_slice(br#","embedding":null,"error":"#);
                let body = error::error(&Failure::of_row(error, index));
                out.extend_from_slice(body["error"].to_string().as_bytes());
            }
        }
        out.push(b'}');
    }

    fn tail(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(br#"],"model":"#);
        render::string(out, &self.form.model);
        let Usage { tokens, estimated } = self.usage;
        let mut usage = json!({ "prompt_tokens": tokens, "total_tokens": tokens });
        if estimated {
            usage["estimated"] = true.into();
        }
        out.extend_from_slice(br#","usage":"#);
        out.extend_from_slice(usage.to_string().as_bytes());
        out.push(b'}');
    }
}

impl ListAnswer {
    fn space(&self, out: &mut Vec<u8>, row: EmbeddingRef<'_>, dimension: usize) {
        out.extend_from_slice(br#","space":"#);
        if dimension == row.vector().len() {
            render::string(out, row.space().id());
        } else {
            render::string(out, row.space().with_dimension(dimension).id());
        }
    }
}

/// Everything known about a row besides its numbers.
fn details(out: &mut Vec<u8>, row: EmbeddingRef<'_>) {
    let info = row.info();
    let details = json!({
        "service": info.model.service(), "model": info.model.name(), "variant": info.model.variant().id(),
        "route": info.route.as_deref(), "tier": info.tier.as_deref(), "truncated": info.truncated,
        "tokens": info.tokens.map(|tokens| json!({ "used": tokens.used, "total": tokens.total })),
    });
    out.extend_from_slice(br#","details":"#);
    out.extend_from_slice(details.to_string().as_bytes());
}

/// `GET /v1/models`.
pub(crate) async fn models(Shared(state): Shared<Arc<State>>) -> Json<Out> {
    let catalogue = state.catalogue();
    let models: Vec<_> = catalogue.models().map(|model| model_object(&model.entry.name, model)).collect();
    Json(json!({ "object": "list", "data": models }))
}

/// `GET /v1/models/{id}`; an id may have slashes.
pub(crate) async fn model(Shared(state): Shared<Arc<State>>, Path(id): Path<String>) -> Outcome {
    let named = state
        .catalogue()
        .find(&id)
        .ok_or_else(|| unknown_model(|name| format!("The model `{name}` does not exist"), &id))?;
    Ok((StatusCode::OK, Json(model_object(&id, &named.model))).into_response())
}

fn model_object(id: &str, model: &Model) -> Out {
    let info = model.info();
    json!({
        "id": id, "object": "model", "created": model.created(), "owned_by": model.entry.info.service(),
        "dimensions": info.map(ModelInfo::dimension), "max_tokens": info.and_then(ModelInfo::max_tokens),
        "space": model.space().map(Space::id), "available": model.is_there(),
    })
}
