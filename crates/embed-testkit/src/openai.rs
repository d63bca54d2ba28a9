//! A double of a server that speaks OpenAI's `/v1/embeddings`: with the limits of a provider, and faults on demand.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderValue, Method, Response, StatusCode, Uri, header::HeaderMap};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::lock::lock;
use crate::ollama::{Fault, Recorded, RowsFault, listen, serve, words};

/// A server. It ends when this is dropped, and cuts its connections.
pub struct OpenAiDouble {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

/// What a server has and how it behaves.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Script {
    /// The model that requests must name.
    pub model: String,
    /// What the answers call it.
    pub answers_as: String,
    /// Numbers in a vector.
    pub dimension: usize,
    /// How far the vectors are from those of `vector_of`: 0.1 moves them, 3 is another model.
    pub drift: f32,
    /// The norm of the vectors.
    pub norm: f32,
    /// What `encoding_format: base64` does.
    pub base64: Support,
    /// What `dimensions` does.
    pub dimensions: Support,
    /// Texts in a request.
    pub max_rows: usize,
    /// Tokens of a text, the special ones included.
    pub max_tokens: usize,
    /// Whether a longer text is cut in silence.
    pub cuts: bool,
    /// Tokens of a request.
    pub request_tokens: usize,
    /// Whether rows come in another order than that of the texts, each with its index.
    pub shuffles: bool,
    /// Whether answers count tokens.
    pub usage: bool,
    /// The key that requests must have.
    pub key: Option<String>,
    /// A request with a text that has this in it is refused.
    pub poison: Option<String>,
    /// A text that has this in it gets a vector with NaN.
    pub nan: Option<String>,
    /// How often it may be asked.
    pub rate: Option<Rate>,
    /// How many requests it takes at a time.
    pub at_once: usize,
    /// How long an answer takes.
    pub latency: Duration,
    /// Whether its errors are worded as those of text-embeddings-inference.
    pub as_tei: bool,
}

/// What a server does about a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Support {
    /// What it says.
    Full,
    /// Nothing.
    Ignored,
    /// It refuses the request.
    Refused,
}

/// How often a server may be asked.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    /// Requests in each stretch of time.
    pub requests: f64,
    /// Tokens in each stretch of time.
    pub tokens: f64,
    /// The stretch.
    pub per: Duration,
    /// Whether the limits come back bit by bit, as OpenAI's do, or all at once at its end.
    pub smooth: bool,
    /// Whether answers tell what is left.
    pub tells: bool,
    /// Whether refusals tell how long to wait.
    pub retry_after: bool,
}

struct Shared {
    script: Mutex<Script>,
    faults: Mutex<VecDeque<Fault>>,
    requests: Mutex<Vec<Recorded>>,
    left: Mutex<Option<Left>>,
    refused: Mutex<usize>,
    in_flight: AtomicUsize,
}

/// A request that is being answered.
struct InFlight<'a>(&'a AtomicUsize);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// What is left of a rate.
#[derive(Clone, Copy)]
struct Left {
    requests: f64,
    tokens: f64,
    at: Instant,
}

type Refusal = (u16, Value);

impl Default for Script {
    fn default() -> Self {
        Self {
            model: "text-embedding-3-small".into(),
            answers_as: "text-embedding-3-small".into(),
            dimension: 64,
            drift: 0.0,
            norm: 1.0,
            base64: Support::Full,
            dimensions: Support::Full,
            max_rows: 2048,
            max_tokens: 512,
            cuts: false,
            request_tokens: 300_000,
            shuffles: false,
            usage: true,
            key: None,
            poison: None,
            nan: None,
            rate: None,
            at_once: usize::MAX,
            latency: Duration::ZERO,
            as_tei: false,
        }
    }
}

impl OpenAiDouble {
    /// Starts a server.
    ///
    /// # Panics
    ///
    /// If loopback has no free port.
    pub async fn start() -> Self {
        Self::start_at(0).await
    }

    /// The same on a given port, such as that of an earlier one.
    ///
    /// # Panics
    ///
    /// If the port isn't free.
    pub async fn start_at(port: u16) -> Self {
        let listener = listen(port).await;
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            script: Mutex::default(),
            faults: Mutex::default(),
            requests: Mutex::default(),
            left: Mutex::default(),
            refused: Mutex::default(),
            in_flight: AtomicUsize::new(0),
        });
        let router = Router::new()
            .fallback(answer)
            .layer(axum::extract::DefaultBodyLimit::disable())
            .with_state(Arc::clone(&shared));
        Self { address, shared, task: tokio::spawn(serve(listener, router)) }
    }

    /// Its base URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Changes its state and behaviour.
    pub fn change(&self, change: impl FnOnce(&mut Script)) {
        change(&mut lock(&self.shared.script));
    }

    /// Makes the next requests to embed fail, each with the next fault.
    pub fn fail(&self, faults: impl IntoIterator<Item = Fault>) {
        lock(&self.shared.faults).extend(faults);
    }

    /// Forgets the faults that weren't used yet, and the requests that came.
    pub fn forget(&self) {
        lock(&self.shared.faults).clear();
        lock(&self.shared.requests).clear();
        *lock(&self.shared.refused) = 0;
    }

    /// The requests to embed so far.
    #[must_use]
    pub fn requests(&self) -> Vec<Recorded> {
        lock(&self.shared.requests).clone()
    }

    /// Requests that were refused because they came too often.
    #[must_use]
    pub fn refused(&self) -> usize {
        *lock(&self.shared.refused)
    }

    /// The vector that it returns for a text while `drift` is 0.
    #[must_use]
    pub fn vector_of(&self, text: &str) -> Vec<f32> {
        words::vector(text, lock(&self.shared.script).dimension, 0.0)
    }
}

impl fmt::Debug for OpenAiDouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenAiDouble").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Drop for OpenAiDouble {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let script = lock(&shared.script).clone();
    if method == Method::GET && uri.path() == "/v1/models" {
        return reply(200, &json!({"object": "list", "data": [{"id": script.model, "object": "model"}]}));
    }
    if method != Method::POST || uri.path() != "/v1/embeddings" {
        return reply(404, &json!({"detail": "Not Found"}));
    }
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let recorded = Recorded { path: uri.path().to_owned(), headers: headers.clone(), body: body.clone() };
    lock(&shared.requests).push(recorded);
    let fault = lock(&shared.faults).pop_front().unwrap_or(Fault::None);
    if let Some(answer) = fault.answer() {
        return answer;
    }
    if fault == Fault::Silence {
        std::future::pending::<()>().await;
    }
    let others = shared.in_flight.fetch_add(1, Ordering::SeqCst);
    let _in_flight = InFlight(&shared.in_flight);
    if others >= script.at_once {
        *lock(&shared.refused) += 1;
        return reply(429, &json!({"message": "Model is overloaded", "code": 429, "type": "Overloaded"}));
    }
    if !script.latency.is_zero() {
        tokio::time::sleep(script.latency).await;
    }
    let (status, body, limits) = match embed(&shared, &script, &headers, &body) {
        Ok((texts, limits)) => (200, rows(&script, &texts, &body, &fault), limits),
        Err(((status, body), limits)) => (status, body, limits),
    };
    let mut response = reply(status, &body);
    if status == 200 {
        *response.body_mut() = fault.spoil(body.to_string());
    }
    for (name, value) in limits {
        response.headers_mut().insert(name, HeaderValue::from_str(&value).expect("a number is ASCII"));
    }
    response
}

type Limits = Vec<(&'static str, String)>;

/// The texts as they are embedded, or why they aren't.
fn embed(
    shared: &Shared,
    script: &Script,
    headers: &HeaderMap,
    body: &Value,
) -> Result<(Vec<String>, Limits), (Refusal, Limits)> {
    let none = |refusal| (refusal, Vec::new());
    let key = headers.get("authorization").and_then(|key| key.to_str().ok()?.strip_prefix("Bearer "));
    if script.key.is_some() && key != script.key.as_deref() {
        return Err(none(error(401, "Incorrect API key provided", "invalid_api_key")));
    }
    let texts: Vec<String> = match &body["input"] {
        Value::String(text) => vec![text.clone()],
        Value::Array(texts) => texts.iter().filter_map(|text| text.as_str().map(str::to_owned)).collect(),
        _ => Vec::new(),
    };
    let counts: Vec<usize> = texts.iter().map(|text| words::tokens(text).len() + 2).collect();
    let limits = rate(shared, script, counts.iter().sum::<usize>() as f64).map_err(|(refusal, limits)| {
        *lock(&shared.refused) += 1;
        (refusal, limits)
    })?;
    match check(script, body, &texts, &counts) {
        Ok(()) => {}
        Err(refusal) => return Err((refusal, limits)),
    }
    let cut = |text: String| match words::tokens(&text).len() + 2 > script.max_tokens {
        true => words::tokens(&text)[..script.max_tokens - 2].join(" "),
        false => text,
    };
    Ok((texts.into_iter().map(cut).collect(), limits))
}

fn check(script: &Script, body: &Value, texts: &[String], counts: &[usize]) -> Result<(), Refusal> {
    if body["model"] != script.model.as_str() {
        return Err(error(404, "The model does not exist", "model_not_found"));
    }
    if script.base64 == Support::Refused && !body["encoding_format"].is_null() {
        return Err(error(422, "Extra inputs are not permitted: encoding_format", "extra_forbidden"));
    }
    if script.dimensions == Support::Refused && !body["dimensions"].is_null() {
        return Err(error(400, "This model does not support specifying dimensions.", ""));
    }
    if texts.len() > script.max_rows {
        let message = format!("batch size {} > maximum allowed batch size {}", texts.len(), script.max_rows);
        return Err((422, json!({"message": message, "code": 422, "type": "Validation"})));
    }
    if texts.is_empty() || texts.iter().any(String::is_empty) {
        return Err(error(400, "'$.input' is invalid. A text must not be empty.", ""));
    }
    let tokens: usize = counts.iter().sum();
    if tokens > script.request_tokens {
        let message = format!("Requested {tokens} tokens, max {} tokens per request", script.request_tokens);
        return Err(error(400, &message, "max_tokens_per_request"));
    }
    // A server's message may quote what it was sent.
    if let Some(text) =
        script.poison.as_ref().and_then(|poison| texts.iter().find(|text| text.contains(poison)))
    {
        return Err(error(400, &format!("Invalid value: {text:?}"), ""));
    }
    if let Some(count) = counts.iter().find(|count| **count > script.max_tokens).filter(|_| !script.cuts) {
        if script.as_tei {
            let (most, message) = (script.max_tokens, "Input validation error: `inputs` must have less than");
            let message = format!("{message} {most} tokens. Given: {count}");
            return Err((413, json!({"message": message, "code": 413, "type": "Validation"})));
        }
        let message = format!(
            "This model's maximum context length is {} tokens, however you requested {count} tokens",
            script.max_tokens
        );
        return Err(error(400, &message, ""));
    }
    Ok(())
}

fn rows(script: &Script, texts: &[String], body: &Value, fault: &Fault) -> Value {
    let width = body["dimensions"].as_u64().and_then(|width| usize::try_from(width).ok());
    let width = width.filter(|_| script.dimensions == Support::Full).unwrap_or(script.dimension);
    let base64 = body["encoding_format"] == "base64" && script.base64 == Support::Full;
    let mut rows: Vec<Value> = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        let whole = words::vector(text, script.dimension, script.drift);
        let mut vector =
            embed_core::vector::truncate_dimensions(&whole, width.min(script.dimension)).unwrap_or(whole);
        vector.iter_mut().for_each(|value| *value *= script.norm);
        if script.nan.as_ref().is_some_and(|nan| text.contains(nan))
            || *fault == Fault::Rows(RowsFault::NotFinite(index))
        {
            vector[1] = f32::NAN;
        }
        match fault {
            Fault::Rows(RowsFault::Narrow(at)) if *at == index => vector.truncate(vector.len() - 1),
            Fault::Rows(RowsFault::Zero(at)) if *at == index => vector.fill(0.0),
            _ => {}
        }
        let embedding = match base64 {
            true => STANDARD
                .encode(vector.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>())
                .into(),
            // NaN becomes `null`, as JSON has it.
            false => json!(vector),
        };
        rows.push(json!({"object": "embedding", "index": index, "embedding": embedding}));
    }
    match fault {
        Fault::Rows(RowsFault::Missing(at)) if *at < rows.len() => drop(rows.remove(*at)),
        Fault::Rows(RowsFault::Null(at)) if *at < rows.len() => rows[*at]["embedding"] = Value::Null,
        Fault::Rows(RowsFault::Extra) => rows.extend(rows.first().cloned()),
        Fault::Rows(RowsFault::None) => rows.clear(),
        _ => {}
    }
    if script.shuffles {
        rows.reverse();
        let middle = rows.len() / 3;
        rows.rotate_left(middle);
    }
    let mut answer = json!({"object": "list", "data": rows, "model": script.answers_as});
    if script.usage {
        let tokens: usize = texts.iter().map(|text| words::tokens(text).len() + 2).sum();
        answer["usage"] = json!({"prompt_tokens": tokens, "total_tokens": tokens});
    }
    answer
}

/// Counts a request against the rate: the headers that tell of it.
fn rate(shared: &Shared, script: &Script, tokens: f64) -> Result<Limits, (Refusal, Limits)> {
    let Some(rate) = script.rate else { return Ok(Vec::new()) };
    let now = Instant::now();
    let mut left = lock(&shared.left);
    let full = Left { requests: rate.requests, tokens: rate.tokens, at: now };
    let mut is = left.unwrap_or(full);
    let passed = (now - is.at).as_secs_f64() / rate.per.as_secs_f64();
    if rate.smooth {
        is.requests = (is.requests + passed * rate.requests).min(rate.requests);
        is.tokens = (is.tokens + passed * rate.tokens).min(rate.tokens);
        is.at = now;
    } else if passed >= 1.0 {
        is = full;
    }
    let fits = is.requests >= 1.0 && is.tokens >= tokens;
    if fits {
        (is.requests, is.tokens) = (is.requests - 1.0, is.tokens - tokens);
    }
    *left = Some(is);
    let until_full = |is: f64, most: f64| match rate.smooth {
        true => rate.per.mul_f64((most - is) / most),
        false => rate.per.saturating_sub(now - is_at(&left)),
    };
    let (requests, all) = (until_full(is.requests, rate.requests), until_full(is.tokens, rate.tokens));
    let mut limits = Vec::new();
    if rate.tells {
        let go = |reset: Duration| format!("{}m{:.3}s", reset.as_secs() / 60, reset.as_secs_f64() % 60.0);
        limits.extend([
            ("x-ratelimit-limit-requests", rate.requests.to_string()),
            ("x-ratelimit-limit-tokens", rate.tokens.to_string()),
            ("x-ratelimit-remaining-requests", is.requests.floor().to_string()),
            ("x-ratelimit-remaining-tokens", is.tokens.floor().to_string()),
            ("x-ratelimit-reset-requests", go(requests)),
            ("x-ratelimit-reset-tokens", go(all)),
        ]);
    }
    if fits {
        return Ok(limits);
    }
    if tokens > rate.tokens {
        let message =
            format!("Request too large on tokens per min (TPM): Limit {}, Requested {tokens}.", rate.tokens);
        return Err((error(429, &message, "rate_limit_exceeded"), limits));
    }
    if rate.retry_after {
        let wait = requests.max(all).as_secs_f64().ceil().max(1.0);
        limits.push(("retry-after", wait.to_string()));
    }
    Err((error(429, "Rate limit reached", "rate_limit_exceeded"), limits))
}

fn is_at(left: &Option<Left>) -> Instant {
    left.map_or_else(Instant::now, |left| left.at)
}

fn error(status: u16, message: &str, code: &str) -> Refusal {
    let body =
        json!({"error": {"message": message, "type": "invalid_request_error", "param": null, "code": code}});
    (status, body)
}

fn reply(status: u16, body: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = StatusCode::from_u16(status).expect("a scripted status is one");
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
    response
}
