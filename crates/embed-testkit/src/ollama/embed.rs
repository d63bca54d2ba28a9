//! `/api/embed` and `/api/embeddings`, as each version implements them.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::errors::{StatusAndBody, crash, error, too_long};
use super::fault::{JsonRows, RowsFault};
use super::script::Script;
use super::shared::Shared;
use super::version::Since;
use super::words;

/// The first JSON value of a body, or what Go's decoder says.
pub(super) fn decode(body: &[u8]) -> Result<Value, StatusAndBody> {
    if body.trim_ascii().is_empty() {
        return Err(error(400, "missing request body"));
    }
    let first = serde_json::Deserializer::from_slice(body).into_iter::<Value>().next();
    match first {
        Some(Ok(value)) => Ok(value),
        Some(Err(fault)) if fault.is_eof() => Err(error(400, "unexpected EOF")),
        _ => {
            let at = char::from(body.trim_ascii()[0]);
            Err(error(400, format!("invalid character '{at}' looking for beginning of value")))
        }
    }
}

/// A field that must be a string, if it is there.
pub(super) fn string_field(body: &Value, field: &str, form: &str) -> Result<String, StatusAndBody> {
    let kind = match &body[field] {
        Value::Null => return Ok(String::new()),
        Value::String(text) => return Ok(text.clone()),
        Value::Number(_) => "number",
        Value::Bool(_) => "bool",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    Err(error(
        400,
        format!("json: cannot unmarshal {kind} into Go struct field {form}.{field} of type string"),
    ))
}

/// How long the model is kept; `None` for ever.
fn keep_alive(body: &Value) -> Result<Option<Duration>, StatusAndBody> {
    let seconds = match &body["keep_alive"] {
        Value::Null => 300.0,
        Value::Number(number) => number.as_f64().unwrap_or(0.0).trunc(),
        Value::String(text) => go_duration(text).map_err(|text| error(400, text))?,
        Value::Bool(_) => return Err(error(400, "Unsupported type: 'bool'")),
        Value::Array(_) => return Err(error(400, "Unsupported type: '[]interface {}'")),
        Value::Object(_) => return Err(error(400, "Unsupported type: 'map[string]interface {}'")),
    };
    Ok((seconds >= 0.0).then(|| Duration::from_secs_f64(seconds)))
}

fn go_duration(text: &str) -> Result<f64, String> {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let digits = unsigned.trim_end_matches(|char: char| !char.is_ascii_digit() && char != '.');
    let number: f64 = digits.parse().map_err(|_| format!("time: invalid duration {text:?}"))?;
    let unit = match &unsigned[digits.len()..] {
        "" if number == 0.0 => 1.0,
        "" => return Err(format!("time: missing unit in duration {text:?}")),
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        unit => return Err(format!("time: unknown unit {unit:?} in duration {text:?}")),
    };
    Ok(if text.starts_with('-') { -number * unit } else { number * unit })
}

fn whole_option(body: &Value, name: &str) -> Result<Option<i64>, StatusAndBody> {
    match &body["options"][name] {
        Value::Null => Ok(None),
        Value::Number(number) => Ok(Some(number.as_f64().unwrap_or(0.0) as i64)),
        _ => Err(error(500, format!("option {name:?} must be of type integer"))),
    }
}

/// The model's name without the parts that are defaults, in the form in which names are compared.
pub(super) fn plain_name(name: &str, version: Since) -> String {
    let name = name.strip_prefix("registry.ollama.ai/").unwrap_or(name);
    let name = name.strip_prefix("library/").unwrap_or(name);
    let tagged = name.rsplit('/').next().is_some_and(|last| last.contains(':'));
    let name = if tagged { name.to_owned() } else { format!("{name}:latest") };
    if version.since("0.5.2") { name.to_lowercase() } else { name }
}

/// The model that a name stands for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ModelPurpose {
    Embedding,
    Chat,
}

fn find(script: &Script, version: Since, name: &str) -> Result<ModelPurpose, StatusAndBody> {
    if name.is_empty() {
        return Err(match () {
            () if version.before("0.5.2") => error(400, "model is required"),
            () if version.before("0.15.0") => error(404, "model \"\" not found, try pulling it first"),
            () if version.before("0.18.0") => {
                error(500, "unqualified name: registry.ollama.ai/library/!MISSING!:latest")
            }
            () => error(404, "model '' not found"),
        });
    }
    lookup(script, version, name)
        .ok_or_else(|| error(404, format!("model {name:?} not found, try pulling it first")))
}

pub(super) fn lookup(script: &Script, version: Since, name: &str) -> Option<ModelPurpose> {
    let plain = plain_name(name, version);
    if plain == plain_name(&script.model, version) {
        return Some(ModelPurpose::Embedding);
    }
    let chat = script.chat_model.as_ref()?;
    (plain == plain_name(chat, version)).then_some(ModelPurpose::Chat)
}

/// A request that was checked.
struct EmbedParameters {
    model: String,
    /// `None`: only load the model.
    texts: Option<Vec<String>>,
    truncate: bool,
    dimensions: Option<usize>,
    keep: Option<Duration>,
    options: (Option<i64>, Option<i64>),
}

pub(super) async fn embed(shared: &Shared, body: &[u8], rows_fault: Option<RowsFault>) -> StatusAndBody {
    let script = shared.script();
    let version = Since::of(&script.version);
    let asked = match ask(&script, version, body) {
        Ok(asked) => asked,
        Err(answer) => return answer,
    };
    let empty = |asked: &EmbedParameters| (200, json!({ "model": asked.model, "embeddings": [] }));
    if asked.texts.is_none() && version.before("0.3.6") {
        return empty(&asked);
    }
    match find(&script, version, &asked.model) {
        Ok(ModelPurpose::Embedding) => {}
        Ok(ModelPurpose::Chat) => {
            return match () {
                () if version.since("0.30.0") => {
                    error(501, "This server does not support embeddings. Start it with `--embeddings`")
                }
                () if version.since("0.13.3") => error(501, "this model does not support embeddings"),
                () if version.since("0.6.1") => error(500, "this model does not support embeddings"),
                () => error(500, "this double has no vectors of chat models"),
            };
        }
        Err(answer) => return answer,
    }
    let loading = shared.runner.ensure(script.load_time, asked.keep, asked.options).await;
    let Some(texts) = &asked.texts else {
        shared.runner.used(asked.keep);
        return empty(&asked);
    };
    if script.wedged {
        return std::future::pending().await;
    }
    let answer = rows(shared, &script, version, &asked, texts).await;
    shared.runner.used(asked.keep);
    let (mut rows, count) = match answer {
        Ok(answer) => answer,
        Err(answer) => return answer,
    };
    if let Some(fault) = rows_fault {
        fault.spoil(&mut rows);
    }
    let mut answer = Map::new();
    answer.insert("model".into(), json!(asked.model));
    answer.insert("embeddings".into(), json!(rows));
    if version.since("0.3.1") {
        let nanoseconds = (script.embed_time * texts.len() as u32 + loading).as_nanos() as u64;
        answer.insert("total_duration".into(), json!(nanoseconds + 1_000_000));
        answer.insert("load_duration".into(), json!(loading.as_nanos() as u64 + 1_000));
        if count > 0 {
            answer.insert("prompt_eval_count".into(), json!(count));
        }
    }
    (200, Value::Object(answer))
}

fn ask(script: &Script, version: Since, body: &[u8]) -> Result<EmbedParameters, StatusAndBody> {
    let body = decode(body)?;
    let model = string_field(&body, "model", "EmbedRequest")?;
    let keep = keep_alive(&body)?;
    let truncate = body["truncate"].as_bool().unwrap_or(true);
    let texts = match &body["input"] {
        Value::Null if version.before("0.3.6") => return Err(error(400, "invalid input type")),
        Value::Null => None,
        Value::String(text) if text.is_empty() => None,
        Value::String(text) => Some(vec![text.clone()]),
        Value::Array(texts) if texts.is_empty() => None,
        Value::Array(texts) => Some(
            texts
                .iter()
                .map(|text| text.as_str().map(str::to_owned))
                .collect::<Option<_>>()
                .ok_or_else(|| error(400, "invalid input type"))?,
        ),
        _ => return Err(error(400, "invalid input type")),
    };
    // The name is looked up before the options are read.
    find(script, version, &model)
        .map(drop)
        .or_else(|answer| if texts.is_none() && version.before("0.3.6") { Ok(()) } else { Err(answer) })?;
    let options = (whole_option(&body, "num_ctx")?, whole_option(&body, "num_batch")?);
    let dimensions = body["dimensions"].as_u64().filter(|_| version.since("0.11.11"));
    Ok(EmbedParameters {
        model,
        texts,
        truncate,
        dimensions: dimensions.map(|dimensions| dimensions as usize).filter(|dimensions| *dimensions > 0),
        keep,
        options,
    })
}

async fn rows(
    shared: &Shared,
    script: &Script,
    version: Since,
    asked: &EmbedParameters,
    texts: &[String],
) -> Result<(JsonRows, usize), StatusAndBody> {
    let context = asked.options.0.map_or(script.context, |set| script.context.min(set.max(1) as usize));
    let specials = 2;
    // Before 0.12.0 the length check doesn't count the special tokens.
    let room = if version.since("0.12.0") { context - specials } else { context };
    let mut read = Vec::with_capacity(texts.len());
    let mut count = 0;
    for text in texts {
        let tokens = words::tokens(text);
        let fits = tokens.len() <= room;
        if !fits && !asked.truncate {
            return Err(too_long(version));
        }
        let used = tokens.len().min(room);
        count += used + if counts_specials(version) { specials } else { 0 };
        // The runner has the context that was set, even if it is more than the model was trained for: then a text
        // that is too long by its special tokens crashes it. Otherwise it silently cuts again.
        let set = asked.options.0.unwrap_or(2048).max(0) as usize;
        if version.before("0.9.3") && set > script.context && used + specials > script.context {
            shared.runner.unload();
            return Err(crash(version));
        }
        let kept = used.min(context - specials);
        read.push(if kept == tokens.len() { text.clone() } else { tokens[..kept].join(" ") });
    }
    let mixed = TextsInFlight::begin(shared, texts.len());
    let mut rows = JsonRows::with_capacity(read.len());
    for text in &read {
        if !script.embed_time.is_zero() {
            tokio::time::sleep(script.embed_time).await;
        }
        if script.poison.as_ref().is_some_and(|poison| text.contains(poison)) {
            shared.runner.unload();
            return Err(crash(version));
        }
        let mut vector = words::vector(text, script.dimension, script.drift);
        if let Some(dimensions) = asked.dimensions.filter(|dimensions| *dimensions < vector.len()) {
            vector.truncate(dimensions);
            embed_core::vector::normalise(&mut vector);
        }
        rows.push(Some(vector.into_iter().map(Some).collect()));
    }
    shared.texts.fetch_add(read.len(), Ordering::SeqCst);
    if script.shuffle {
        rows.reverse();
    }
    if script.mixes && mixed.saw_others() && !rows.is_empty() {
        // The buffer of one result is reused for the next.
        let last = rows.len() - 1;
        rows.rotate_left(1.min(last));
        if last == 0 {
            let stranger = words::vector("the text of somebody else", script.dimension, script.drift);
            rows[0] = Some(stranger.into_iter().map(Some).collect());
        }
    }
    Ok((rows, count))
}

/// Whether the count includes the special tokens.
fn counts_specials(version: Since) -> bool {
    version.since("0.13.3") || version.before("0.3.5")
}

/// Counts the texts that are worked on at one time.
struct TextsInFlight<'a> {
    shared: &'a Shared,
    texts: usize,
    others: bool,
}

impl<'a> TextsInFlight<'a> {
    fn begin(shared: &'a Shared, texts: usize) -> Self {
        let before = shared.in_flight.fetch_add(texts, Ordering::SeqCst);
        shared.most_in_flight.fetch_max(before + texts, Ordering::SeqCst);
        Self { shared, texts, others: before > 0 }
    }

    /// Whether another text was being worked on, in this request or in another one.
    fn saw_others(&self) -> bool {
        self.others || self.texts > 1 || self.shared.in_flight.load(Ordering::SeqCst) > self.texts
    }
}

impl Drop for TextsInFlight<'_> {
    fn drop(&mut self) {
        self.shared.in_flight.fetch_sub(self.texts, Ordering::SeqCst);
    }
}

/// The legacy route: one text, nothing about truncation, raw vectors.
pub(super) async fn embeddings(shared: &Shared, body: &[u8]) -> StatusAndBody {
    let script = shared.script();
    let version = Since::of(&script.version);
    let parsed = decode(body).and_then(|body| {
        let model = string_field(&body, "model", "EmbeddingRequest")?;
        let prompt = string_field(&body, "prompt", "EmbeddingRequest")?;
        Ok((model, prompt, keep_alive(&body)?))
    });
    let (model, prompt, keep) = match parsed {
        Ok(parsed) => parsed,
        Err(answer) => return answer,
    };
    if model.is_empty() {
        return error(400, "model is required");
    }
    if lookup(&script, version, &model) != Some(ModelPurpose::Embedding) {
        return error(404, format!("model {model:?} not found, try pulling it first"));
    }
    shared.runner.ensure(script.load_time, keep, (None, None)).await;
    shared.runner.used(keep);
    if prompt.is_empty() {
        return (200, json!({ "embedding": [] }));
    }
    if script.poison.as_ref().is_some_and(|poison| prompt.contains(poison)) {
        return if version.before("0.4.3") {
            error(500, "failed to generate embedding")
        } else {
            crash(version)
        };
    }
    shared.texts.fetch_add(1, Ordering::SeqCst);
    // Not normalised.
    let raw: Vec<f64> = words::vector(&prompt, script.dimension, script.drift)
        .into_iter()
        .map(|value| f64::from(value * 7.5))
        .collect();
    (200, json!({ "embedding": raw }))
}
