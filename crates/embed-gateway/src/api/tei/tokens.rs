//! `/tokenize` and `/decode`: from texts to tokens, and back.

use std::fmt;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State as Shared;
use axum::response::IntoResponse;
use axum::{Extension, Json};
use embed_core::{Error, ErrorKind, Role};
use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};
use serde_json::{Value as Out, json};
use tokio::task::{JoinError, spawn_blocking};

use crate::api::fields::{self, texts, wrong_kind};
use crate::api::wishes::{WISHES, Wishes};
use crate::context::{Context, late};
use crate::failure::{Failure, Outcome};
use crate::hooks::{Token, Tokenizer};
use crate::json::{BadJson, Fields, Reading};
use crate::state::State;

/// The most tokens of one answer; each takes about 60 bytes.
const MOST_TOKENS: usize = 1 << 20;

/// A request to `/tokenize`.
#[derive(Debug)]
pub(crate) struct TokenizeRequest {
    pub(crate) texts: Vec<Arc<str>>,
    role: Role,
    special: bool,
}

/// A request to `/decode`.
#[derive(Debug, serde::Deserialize)]
pub(crate) struct DecodeRequest {
    ids: Lists,
    skip_special_tokens: Option<bool>,
}

/// `POST /tokenize`: the model's tokens of each text, with the prefix of its role.
pub(crate) async fn tokenize(
    Shared(state): Shared<Arc<State>>,
    Extension(context): Extension<Context>,
    body: Body,
) -> Outcome {
    let received = state.bodies.read(body).await?;
    let TokenizeRequest { texts, role, special } = parse_texts(&received.bytes, &state)?;
    let tokenizer = tokenizer(&state)?;
    let rows = in_turn(&state, &context, texts, move |text, room| {
        let mut tokens = tokenizer.tokenise(text, role)?;
        tokens.retain(|token| special || !token.special);
        *room = room.checked_sub(tokens.len()).ok_or_else(too_many)?;
        Ok(tokens.into_iter().map(written).collect::<Vec<_>>())
    });
    Ok(Json(rows.await?).into_response())
}

/// `POST /decode`: the text of each list of ids.
pub(crate) async fn decode(
    Shared(state): Shared<Arc<State>>,
    Extension(context): Extension<Context>,
    body: Body,
) -> Outcome {
    let received = state.bodies.read(body).await?;
    let DecodeRequest { ids, skip_special_tokens } = parse_ids(&received.bytes)?;
    let tokenizer = tokenizer(&state)?;
    let skip = skip_special_tokens.unwrap_or(true);
    let lists = if ids.0.len() > state.config.limits.rows {
        return Err(fields::too_many(state.config.limits.rows));
    } else {
        ids.0
    };
    let rows = in_turn(&state, &context, lists, move |ids, room| {
        *room = room.checked_sub(ids.len()).ok_or_else(too_many)?;
        Ok(tokenizer.decode(ids, skip)?)
    });
    Ok(Json(rows.await?).into_response())
}

pub(crate) fn parse_texts(body: &[u8], state: &State) -> Result<TokenizeRequest, Failure> {
    let limit = state.config.limits.rows;
    let known: &[&[&str]] = &[&["inputs", "add_special_tokens"], &WISHES];
    let mut fields = Fields::read(body, Reading { known, members: &[], as_go: false, max_texts: limit })?;
    let inputs = texts(fields.take("inputs"), "inputs", limit)?.filter(|texts| !texts.is_empty());
    let texts = inputs.ok_or_else(|| {
        Failure::bad_request("`inputs` must be a string or an array of at least one string")
            .with_param("inputs")
    })?;
    let special = fields.take("add_special_tokens").bool();
    let special = special.map_err(|kind| wrong_kind("add_special_tokens", "true or false", kind))?;
    let model = state.catalogue().first();
    let entry = &model.entry;
    let wishes = Wishes::take(&mut fields, &entry.info)?;
    Ok(TokenizeRequest { texts, role: wishes.role.unwrap_or(entry.role), special: special.unwrap_or(true) })
}

pub(crate) fn parse_ids(body: &[u8]) -> Result<DecodeRequest, Failure> {
    serde_json::from_slice(body).map_err(|error| {
        if error.is_data() {
            let message = "`ids` must be an array of token ids, or of such arrays";
            return Failure::bad_request(message).with_param("ids");
        }
        BadJson::of(&error).into()
    })
}

fn tokenizer(state: &State) -> Result<Arc<dyn Tokenizer>, Failure> {
    state.catalogue().first().entry.tokenizer.clone().ok_or_else(|| {
        Failure::not_set_up(
            "the model's tokenizer isn't in this process: its server has it, or counts by itself",
        )
    })
}

/// Does work for each item, subject to admission and the deadline.
async fn in_turn<I: Send + 'static, T: Send + 'static>(
    state: &State,
    context: &Context,
    items: Vec<I>,
    work: impl Fn(&I, &mut usize) -> Result<T, Failure> + Send + 'static,
) -> Result<Vec<T>, Failure> {
    let permit = state.admission.enter(context.caller, context.deadline).await?;
    let deadline = context.deadline;
    // The work keeps the permit, because it can't be cancelled from outside.
    let working = spawn_blocking(move || {
        let mut room = MOST_TOKENS;
        let mut done = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            if tokio::time::Instant::now() >= deadline {
                return Err(late().into());
            }
            done.push(work(item, &mut room).map_err(|failure| failure.with_row(index))?);
        }
        permit.done();
        Ok(done)
    });
    let broken = |_: JoinError| Error::new(ErrorKind::Internal, "the tokenizer panicked on a text");
    context.limit(working).await?.map_err(broken)?
}

fn too_many() -> Failure {
    Failure::too_large(format!("the request has more than {MOST_TOKENS} tokens: send fewer at once"))
}

fn written(token: Token) -> Out {
    let (start, stop) = token.span.map(|span| (span.start, span.end)).unzip();
    json!({ "id": token.id, "text": token.text, "special": token.special, "start": start, "stop": stop })
}

/// One list of ids, or several.
#[derive(Debug)]
struct Lists(Vec<Vec<u32>>);

/// An element of `ids`.
enum Item {
    Id(u32),
    List(Vec<u32>),
}

impl<'de> Deserialize<'de> for Lists {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct Elements;
        impl<'de> Visitor<'de> for Elements {
            type Value = Lists;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("token ids")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Lists, A::Error> {
                let (mut flat, mut lists) = (Vec::new(), Vec::new());
                while let Some(item) = seq.next_element()? {
                    match item {
                        Item::Id(id) if lists.is_empty() => flat.push(id),
                        Item::List(list) if flat.is_empty() => lists.push(list),
                        _ => return Err(serde::de::Error::custom("both ids and lists")),
                    }
                }
                Ok(Lists(if lists.is_empty() { vec![flat] } else { lists }))
            }
        }
        json.deserialize_seq(Elements)
    }
}

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Item;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a token id or a list of them")
            }

            fn visit_u64<E: serde::de::Error>(self, id: u64) -> Result<Item, E> {
                id.try_into().map(Item::Id).map_err(|_| E::custom("no token id"))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Item, A::Error> {
                let mut list = Vec::new();
                while let Some(id) = seq.next_element()? {
                    list.push(id);
                }
                Ok(Item::List(list))
            }
        }
        json.deserialize_any(Either)
    }
}
