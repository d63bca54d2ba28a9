//! The dialect of OpenAI: `/v1/embeddings` and `/v1/models`.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State as Shared};
use axum::response::IntoResponse;
use axum::{Json, http::StatusCode};
use embed_core::{EmbeddingRef, Error, Result, Role, Truncation};
use serde_json::{Value as Out, json};

use crate::call::Ask;
use crate::dialect::{texts, unknown_model, wrong_kind};
use crate::failure::{Dialect, Failure, Outcome};
use crate::front::Context;
use crate::json::{Fields, Reading};
use crate::models::Offer;
use crate::render::{self, Finish, Shape};
use crate::state::State;

const FIELDS: &[&str] = &[
    "model",
    "input",
    "encoding_format",
    "dimensions",
    "user",
    "input_type",
    "truncation",
    "partial",
    "details",
];

/// `POST /v1/embeddings`.
pub(crate) async fn embeddings(
    Shared(state): Shared<Arc<State>>,
    Extension(context): Extension<Context>,
    body: Body,
) -> Outcome {
    let received = state.bodies.read(body).await?;
    let (mut ask, form) = parse(&received.bytes, &state)?;
    ask.share = received.share;
    let finish = Finish { dimension: ask.dimension, normalise: false };
    let say_space = form.details || ask.offer.entry.mixed;
    let answer = state.embed(ask, &context).await?;
    let tokens = answer.tokens;
    Ok(render::respond(answer, List { form, finish, say_space, tokens, rows: 0 }))
}

/// How the caller wants the answer.
#[derive(Debug)]
pub(crate) struct Form {
    /// The name that was asked for, which the answer repeats.
    model: Arc<str>,
    base64: bool,
    details: bool,
}

pub(crate) fn parse(body: &[u8], state: &State) -> Result<(Ask, Form), Failure> {
    let limit = state.config.limits.rows;
    let mut fields =
        Fields::read(body, Reading { known: FIELDS, members: &[], as_go: false, max_texts: limit })?;
    let model = fields.take("model").text().map_err(|kind| wrong_kind("model", "a string", kind))?;
    let model = model.filter(|model| !model.is_empty()).ok_or_else(|| {
        Failure::bad_request("you must provide a model parameter; GET /v1/models names them")
            .with_param("model")
    })?;
    let named = state.catalogue.find(&model).ok_or_else(|| {
        unknown_model(
            |name| format!("The model `{name}` does not exist; GET /v1/models names those that do"),
            &model,
        )
    })?;
    let input = texts(fields.take("input"), "input", limit)?.filter(|texts| !texts.is_empty());
    let input = input.ok_or_else(|| {
        Failure::bad_request("`input` must be a string or an array of at least one string")
            .with_param("input")
    })?;

    let mut ask = Ask::new(named.offer, input);
    ask.rows_say_space = true;
    let role = fields.take("input_type").text().map_err(|kind| wrong_kind("input_type", "a string", kind))?;
    ask.role = match (role.as_deref().map(role_of).transpose()?, named.role) {
        (Some(field), Some(suffix)) if field != suffix => {
            return Err(Failure::bad_request(
                "`input_type` and the end of the model's name contradict each other",
            )
            .with_param("input_type"));
        }
        (field, suffix) => field.or(suffix).unwrap_or(ask.role),
    };
    let truncation = fields.take("truncation").text();
    if let Some(policy) = truncation.map_err(|kind| wrong_kind("truncation", "a string", kind))? {
        ask.truncation = policy
            .parse::<Truncation>()
            .map_err(|error| Failure::bad_request(error.to_string()).with_param("truncation"))?;
    }
    let dimensions = fields.take("dimensions").integer();
    if let Some(dimensions) = dimensions.map_err(|kind| wrong_kind("dimensions", "a whole number", kind))? {
        ask.dimension = Some(dimension_of(dimensions, &ask.offer)?);
    }
    let flag = |value: crate::json::Value, name| {
        value.bool().map_err(|kind| wrong_kind(name, "true or false", kind))
    };
    ask.partial = flag(fields.take("partial"), "partial")?.unwrap_or(false);
    let details = flag(fields.take("details"), "details")?.unwrap_or(false);
    // Accepted, since clients send it; an end user is no collection, so it has no effect.
    fields.take("user").text().map_err(|kind| wrong_kind("user", "a string", kind))?;
    let format = fields.take("encoding_format").text();
    let base64 = match format.map_err(|kind| wrong_kind("encoding_format", "a string", kind))?.as_deref() {
        None | Some("float") => false,
        Some("base64") => true,
        Some(_) => {
            return Err(Failure::bad_request("`encoding_format` must be \"float\" or \"base64\"")
                .with_param("encoding_format"));
        }
    };
    Ok((ask, Form { model, base64, details }))
}

/// What a text is for, in the words of those who have such a field.
fn role_of(name: &str) -> Result<Role, Failure> {
    match name {
        "query" | "search_query" => Ok(Role::Query),
        "document" | "search_document" | "passage" => Ok(Role::Document),
        _ => Err(Failure::bad_request(
            "`input_type` must be query, document, search_query, search_document or passage",
        )
        .with_param("input_type")),
    }
}

fn dimension_of(asked: i64, offer: &Offer) -> Result<usize, Failure> {
    let most = offer.entry.info.dimension();
    let dimension = usize::try_from(asked).ok().filter(|dimension| (1..=most).contains(dimension));
    dimension.ok_or_else(|| {
        Failure::bad_request(format!("`dimensions` must be 1 to {most} for this model"))
            .with_param("dimensions")
    })
}

/// `{"object":"list","data":[…],"model":…,"usage":…}`.
struct List {
    form: Form,
    finish: Finish,
    /// Each row names its space.
    say_space: bool,
    tokens: usize,
    rows: usize,
}

impl Shape for List {
    fn head(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(br#"{"object":"list","data":["#);
    }

    fn row(&mut self, out: &mut Vec<u8>, index: usize, row: Result<EmbeddingRef<'_>, &Error>) {
        if self.rows > 0 {
            out.push(b',');
        }
        self.rows += 1;
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
                let body = Failure::of_row(error, index).body(Dialect::OpenAi);
                out.extend_from_slice(body["error"].to_string().as_bytes());
            }
        }
        out.push(b'}');
    }

    fn tail(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(br#"],"model":"#);
        render::string(out, &self.form.model);
        out.extend_from_slice(br#","usage":{"prompt_tokens":"#);
        render::integer(out, self.tokens);
        out.extend_from_slice(br#","total_tokens":"#);
        render::integer(out, self.tokens);
        out.extend_from_slice(b"}}");
    }
}

impl List {
    fn space(&self, out: &mut Vec<u8>, row: EmbeddingRef<'_>, dimension: usize) {
        out.extend_from_slice(br#","space":"#);
        if dimension == row.vector().len() {
            render::string(out, row.space().id());
        } else {
            render::string(out, row.space().with_dimension(dimension).id());
        }
    }
}

/// What is known of a row beside its numbers.
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
    let models: Vec<_> =
        state.catalogue.offers().iter().map(|offer| model_card(&offer.entry.name, offer)).collect();
    Json(json!({ "object": "list", "data": models }))
}

/// `GET /v1/models/{id}`; an id may have slashes.
pub(crate) async fn model(Shared(state): Shared<Arc<State>>, Path(id): Path<String>) -> Outcome {
    let named = state
        .catalogue
        .find(&id)
        .ok_or_else(|| unknown_model(|name| format!("The model `{name}` does not exist"), &id))?;
    Ok((StatusCode::OK, Json(model_card(&id, &named.offer))).into_response())
}

fn model_card(id: &str, offer: &Offer) -> Out {
    let info = &offer.entry.info;
    json!({
        "id": id, "object": "model", "created": offer.created(), "owned_by": info.service(),
        "dimensions": info.dimension(), "max_tokens": info.max_tokens(),
        "space": (!offer.entry.mixed).then(|| info.space().id()),
    })
}
