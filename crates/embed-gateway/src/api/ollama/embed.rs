//! `/api/embed` and the older `/api/embeddings`.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State as Shared;
use embed_core::{EmbedResponse, EmbeddingRef, Error, ModelInfo, Result, Truncation};
use serde_json::json;
use tokio::time::Instant;

use super::{error, go};
use crate::answer::Answer;
use crate::api::fields::{too_many, unknown_model};
use crate::api::wishes::{WISHES, Wishes};
use crate::catalogue::{Model, NamedModel};
use crate::context::Context;
use crate::embed::embed_texts;
use crate::failure::{Failure, Outcome};
use crate::json::{Fields, Number, Reading, Value};
use crate::render::{self, Finish, Shape};
use crate::request::GatewayRequest;
use crate::state::State;

const EMBED_FIELDS: &[&str] =
    &["model", "input", "truncate", "dimensions", "keep_alive", "options", "partial", "prompt"];
const EMBEDDINGS_FIELDS: &[&str] = &["model", "prompt", "keep_alive", "options"];

/// `POST /api/embed`.
pub(crate) async fn embed(
    Shared(state): Shared<Arc<State>>,
    Extension(context): Extension<Context>,
    body: Body,
) -> Outcome {
    let received = state.bodies.read(body).await?;
    let (model, mut request, window) = parse_embed(&received.bytes, &state)?;
    request.share = received.share;
    let finish = Finish { dimension: request.dimension, normalise: true };
    let window = window.of(&request);
    let answer = embed_texts(&state, request, &context).await?;
    window.check(&answer)?;
    let shape = Embeddings::new(model, finish, &answer, context.started);
    Ok(render::respond(answer, shape))
}

/// `POST /api/embeddings`: one text, and only its vector.
pub(crate) async fn embeddings(
    Shared(state): Shared<Arc<State>>,
    Extension(context): Extension<Context>,
    body: Body,
) -> Outcome {
    let received = state.bodies.read(body).await?;
    let (mut request, window) = parse_embeddings(&received.bytes, &state)?;
    request.share = received.share;
    let window = window.of(&request);
    let answer = embed_texts(&state, request, &context).await?;
    window.check(&answer)?;
    Ok(render::respond(answer, Single))
}

pub(crate) fn parse_embed(
    body: &[u8],
    state: &State,
) -> Result<(Arc<str>, GatewayRequest, ContextWindow), Failure> {
    const REQUEST: &str = "EmbedRequest";
    let limit = state.config.limits.rows;
    let reading =
        Reading { known: &[EMBED_FIELDS, &WISHES], members: &[go::OPTIONS], as_go: true, max_texts: limit };
    let mut fields = Fields::read(body, reading).map_err(|error| go::bad_json(&error, REQUEST))?;
    let model = model_name(&mut fields, REQUEST)?;
    let truncate = fields.take("truncate").bool();
    let truncate = truncate.map_err(|kind| go::bad_field(kind, REQUEST, "truncate", "bool"))?;
    let dimensions = fields.take("dimensions").integer();
    let dimensions = dimensions.map_err(|kind| go::bad_field(kind, REQUEST, "dimensions", "int"))?;
    let partial = fields.take("partial").bool();
    let partial = partial.map_err(|kind| go::bad_field(kind, REQUEST, "partial", "bool"))?;
    let options = options(&mut fields, REQUEST)?;
    // The field of the older path, which Ollama ignores here.
    drop(fields.take("prompt"));
    let texts = match fields.take("input") {
        Value::Null => Vec::new(),
        // With a single empty string a client asks to load the model.
        Value::Text(text) if text.is_empty() => Vec::new(),
        Value::Text(text) => vec![text],
        Value::List(list) if list.odd.is_none() && list.too_many => return Err(too_many(limit)),
        Value::List(list) if list.odd.is_none() => list.texts,
        _ => return Err(Failure::bad_request("invalid input type")),
    };
    let named = find(state, &model)?;
    go::check_options(&options)?;
    let wishes = Wishes::take(&mut fields, &named.model.entry.info)?;
    let mut request = request_for(named, texts, &wishes)?;
    request.truncation = match truncate {
        Some(false) => Truncation::Error,
        _ => wishes.truncation_or_end(),
    };
    request.partial = partial.unwrap_or(false);
    request.dimension = cut(dimensions.or(wishes.dimension), &request.model);
    Ok((model, request, ContextWindow::asked(&options)))
}

pub(crate) fn parse_embeddings(
    body: &[u8],
    state: &State,
) -> Result<(GatewayRequest, ContextWindow), Failure> {
    const REQUEST: &str = "EmbeddingRequest";
    let reading =
        Reading { known: &[EMBEDDINGS_FIELDS, &WISHES], members: &[go::OPTIONS], as_go: true, max_texts: 0 };
    let mut fields = Fields::read(body, reading).map_err(|error| go::bad_json(&error, REQUEST))?;
    let model = model_name(&mut fields, REQUEST)?;
    let prompt = fields.take("prompt").text();
    let prompt = prompt.map_err(|kind| go::bad_field(kind, REQUEST, "prompt", "string"))?;
    let options = options(&mut fields, REQUEST)?;
    if model.is_empty() {
        return Err(Failure::bad_request("model is required"));
    }
    let named = find(state, &model)?;
    go::check_options(&options)?;
    let wishes = Wishes::take(&mut fields, &named.model.entry.info)?;
    let mut request =
        request_for(named, prompt.filter(|prompt| !prompt.is_empty()).into_iter().collect(), &wishes)?;
    // Ollama passes a text that is too long to its runner unchanged, which keeps the end.
    request.truncation = wishes.truncation.unwrap_or(Truncation::Start);
    if wishes.dimension.is_some() {
        let message = "this path doesn't cut vectors: use POST /api/embed";
        return Err(Failure::bad_request(message).with_param("dimensions"));
    }
    Ok((request, ContextWindow::asked(&options)))
}

fn model_name(fields: &mut Fields, request: &str) -> Result<Arc<str>, Failure> {
    let model =
        fields.take("model").text().map_err(|kind| go::bad_field(kind, request, "model", "string"))?;
    Ok(model.unwrap_or_default())
}

/// `keep_alive` and `options` are parsed as Ollama does, and have no effect. The options are checked once the model is
/// found.
fn options(fields: &mut Fields, request: &str) -> Result<Vec<(&'static str, Value)>, Failure> {
    go::check_keep_alive(fields.take("keep_alive"))?;
    match fields.take("options") {
        Value::Null => Ok(Vec::new()),
        Value::Object(options) => Ok(options),
        other => Err(go::bad_field(other.kind(), request, "options", "map[string]interface {}")),
    }
}

fn find(state: &State, model: &str) -> Result<NamedModel, Failure> {
    let message = |name: &str| format!("model {name:?} not found, try pulling it first");
    state.catalogue().find(model).ok_or_else(|| unknown_model(message, model))
}

/// The role is that of the name or of another server's field, else the model's: Ollama has no field for it.
fn request_for(named: NamedModel, texts: Vec<Arc<str>>, wishes: &Wishes) -> Result<GatewayRequest, Failure> {
    wishes.check_normalise(&named.model.entry.info)?;
    if let Some(field) = wishes.base64 {
        let message = format!("`{field}` can only be float here: /v1/embeddings also writes base64");
        return Err(Failure::bad_request(message).with_param(field));
    }
    let mut request = GatewayRequest::new(named.model, texts);
    request.role = wishes.role_beside(named.role)?.unwrap_or(request.role);
    Ok(request)
}

/// The option `num_ctx`: the number of tokens that a text is cut to. It can't be lowered here, so a text that it would cut
/// is an error.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ContextWindow(Option<usize>);

impl ContextWindow {
    fn asked(options: &[(&'static str, Value)]) -> Self {
        let option = options.iter().find(|(name, _)| *name == "num_ctx");
        let tokens = match option {
            Some((_, Value::Number(Number::Integer(tokens)))) => usize::try_from(*tokens).ok(),
            Some((_, Value::Number(Number::Float(tokens)))) => Some(*tokens as usize),
            _ => None,
        };
        // For Ollama, 0 means its default.
        Self(tokens.filter(|tokens| *tokens > 0))
    }

    /// The window, if it could cut any of these texts.
    fn of(self, request: &GatewayRequest) -> Self {
        /// Special tokens, and a prefix.
        const AROUND: usize = 16;
        let reads = request.model.entry.info.max_tokens();
        // A token has at least one byte.
        let cuts = |tokens: usize| request.texts.iter().any(|text| text.len() + AROUND > tokens);
        Self(self.0.filter(|tokens| reads.is_none_or(|reads| *tokens < reads) && cuts(*tokens)))
    }

    fn check(self, answer: &Answer) -> Result<(), Failure> {
        let Some(window) = self.0 else { return Ok(()) };
        let mut rows = answer.pieces.iter().flat_map(EmbedResponse::rows).flatten();
        if rows.all(|row| row.info().tokens.is_some_and(|tokens| tokens.total <= window)) {
            return Ok(());
        }
        let message =
            "option \"num_ctx\" would cut a text, and can't be set here: leave it out, or send shorter texts";
        Err(Failure::bad_request(message).with_param("options"))
    }
}

/// As in Ollama, an impossible dimension is ignored.
fn cut(dimensions: Option<i64>, model: &Model) -> Option<usize> {
    let asked = usize::try_from(dimensions?).ok()?;
    let whole = model.info().map_or(usize::MAX, ModelInfo::dimension);
    (1..whole).contains(&asked).then_some(asked)
}

/// `{"model":…,"embeddings":[[…]],"total_duration":…,"load_duration":…,"prompt_eval_count":…}`; in a partial
/// answer a failed text is `null`, and `errors` says why.
struct Embeddings {
    model: Arc<str>,
    finish: Finish,
    started: Instant,
    /// Nanoseconds until the first turn: Ollama includes waiting too.
    load_duration: u128,
    /// The tokens of all texts, if they are counted.
    tokens: Option<usize>,
    rows: usize,
    errors: Vec<serde_json::Value>,
}

impl Embeddings {
    fn new(model: Arc<str>, finish: Finish, answer: &Answer, started: Instant) -> Self {
        let (load_duration, tokens) = (answer.waited.as_nanos(), answer.record.tokens);
        Self { model, finish, started, load_duration, tokens, rows: answer.rows(), errors: Vec::new() }
    }
}

impl Shape for Embeddings {
    fn head(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(br#"{"model":"#);
        render::string(out, &self.model);
        out.extend_from_slice(br#","embeddings":["#);
    }

    fn row(&mut self, out: &mut Vec<u8>, index: usize, row: Result<EmbeddingRef<'_>, &Error>) {
        render::comma(out, index);
        match row.map_err(Clone::clone).and_then(|row| self.finish.apply(row)) {
            Ok(values) => render::floats(out, &values),
            Err(error) => {
                out.extend_from_slice(b"null");
                let mut body = error::error(&Failure::from(error));
                body["index"] = index.into();
                self.errors.push(body);
            }
        }
    }

    fn tail(&mut self, out: &mut Vec<u8>) {
        out.push(b']');
        // Go omits numbers that are zero, so without texts they are absent.
        let total = if self.rows == 0 { 0 } else { self.started.elapsed().as_nanos() };
        let load = if self.rows == 0 { 0 } else { self.load_duration };
        let tokens = self.tokens.unwrap_or(0) as u128;
        let counts = [("total_duration", total), ("load_duration", load), ("prompt_eval_count", tokens)];
        for (name, value) in counts.into_iter().filter(|(_, value)| *value > 0) {
            out.extend_from_slice(format!(",\"{name}\":{value}").as_bytes());
        }
        if !self.errors.is_empty() {
            out.extend_from_slice(b",\"errors\":");
            out.extend_from_slice(json!(self.errors).to_string().as_bytes());
        }
        out.push(b'}');
    }
}

/// `{"embedding":[…]}`.
struct Single;

impl Shape for Single {
    fn head(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(br#"{"embedding":"#);
    }

    fn row(&mut self, out: &mut Vec<u8>, _index: usize, row: Result<EmbeddingRef<'_>, &Error>) {
        render::floats(out, row.map_or(&[], |row| row.vector()));
    }

    fn tail(&mut self, out: &mut Vec<u8>) {
        // Without a text there is no row.
        if out.last() == Some(&b':') {
            out.extend_from_slice(b"[]");
        }
        out.push(b'}');
    }
}
