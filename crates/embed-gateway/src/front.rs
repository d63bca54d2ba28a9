//! What happens to every request before its handler and after it: id, key, deadline, the dialect's words, the log.

use std::any::Any;
use std::error::Error as StdError;
use std::fmt::Write as _;
use std::hash::{BuildHasher, RandomState};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use embed_core::Error;
use futures::FutureExt;
use tokio::time::Instant;
use tracing::field::Empty;
use tracing::{Instrument, Level, Span};

use crate::auth::{Caller, Peer, is_local_host, key_of};
use crate::call::Record;
use crate::encoding::decoded;
use crate::failure::{Dialect, Failure};
use crate::state::State;

/// Names the request, in the answer and in every log line about it. A caller's own is taken over.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Seconds after which the caller stops waiting.
const REQUEST_TIMEOUT: HeaderName = HeaderName::from_static("x-request-timeout");
/// The collection or tenant that the texts belong to.
const PARTITION: HeaderName = HeaderName::from_static("x-embed-partition");

/// Who wants the figures on the span of a request, and not only in the log, listens to this at debug: they cost a log
/// that shows spans more than their lines.
const FIGURES: &str = "embed_gateway::figures";

const JSON: &str = "application/json";

/// The longest id and the longest partition that are taken over.
const LONGEST_NAME: usize = 128;

/// Paths that anybody may ask for: whether the process lives, what it speaks, and the page, which holds nothing.
const OPEN: [&str; 5] = ["/", "/healthz", "/readyz", "/health", "/openapi.json"];

/// What a handler knows of its request beside the body.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    pub(crate) caller: Caller,
    pub(crate) started: Instant,
    pub(crate) deadline: Instant,
    pub(crate) partition: Option<Arc<str>>,
}

/// Makes ids that no other process makes.
#[derive(Debug)]
pub(crate) struct RequestIds {
    /// Differs from run to run.
    prefix: u64,
    last: AtomicU64,
}

impl RequestIds {
    pub(crate) fn new() -> Self {
        Self { prefix: RandomState::new().hash_one(std::process::id()), last: AtomicU64::new(0) }
    }

    fn of(&self, headers: &HeaderMap) -> HeaderValue {
        let own = headers.get(&REQUEST_ID).filter(|id| {
            id.len() <= LONGEST_NAME && !id.is_empty() && id.as_bytes().iter().all(u8::is_ascii_graphic)
        });
        own.cloned().unwrap_or_else(|| {
            let number = self.last.fetch_add(1, Ordering::Relaxed);
            HeaderValue::from_str(&format!("{:016x}-{number:x}", self.prefix))
                .unwrap_or_else(|_| HeaderValue::from_static("-"))
        })
    }
}

/// Passes a request on to its handler, if it may, and words the answer.
pub(crate) async fn front(
    axum::extract::State(state): axum::extract::State<Arc<State>>,
    request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let id = state.ids.of(request.headers());
    let dialect = Dialect::of(request.method(), request.uri().path());
    let observed = state.extensions.observer.as_ref().map(|observer| observer.request(dialect.as_str()));
    let mut log = Log { dialect, id: &id, started, answered: false, span: Span::none() };
    log.span = log.begin();

    let admitted = Context::of(&state, &request, started);
    let mut response = match admitted.and_then(|context| Ok((context, decoded(request)?))) {
        Err(failure) => failure.into_response(),
        Ok((context, mut request)) => {
            request.extensions_mut().insert(context);
            let handled =
                AssertUnwindSafe(next.run(request)).catch_unwind().instrument(log.span.clone()).await;
            handled.unwrap_or_else(|panic| panicked(panic).into_response())
        }
    };
    let failure = response.extensions_mut().remove::<Failure>();
    if let Some(failure) = &failure {
        response = failure.render(dialect);
    }
    log.answered(&response, failure.as_ref());
    if let Some(observed) = observed {
        observed.answered(response.status().as_u16());
    }
    let headers = response.headers_mut();
    if dialect == Dialect::Ollama && headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == JSON) {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    }
    headers.insert(REQUEST_ID, id);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if state.draining.load(Ordering::Relaxed) {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

impl Context {
    fn of(state: &State, request: &Request, started: Instant) -> Result<Self, Failure> {
        let headers = request.headers();
        if state.local_only.load(Ordering::Relaxed) && !is_local_host(headers) {
            let message =
                "the Host header names another machine; give the gateway an API key to be called so";
            return Err(Failure::new(StatusCode::FORBIDDEN, "forbidden", message));
        }
        let keys = &state.config.api_keys;
        let key = if keys.is_empty() { None } else { key_of(headers, keys) };
        let open =
            OPEN.contains(&request.uri().path()) && matches!(*request.method(), Method::GET | Method::HEAD);
        if key.is_none() && !keys.is_empty() && !open {
            let message = "an API key is missing or wrong: send it as `Authorization: Bearer …`";
            return Err(Failure::new(StatusCode::UNAUTHORIZED, "unauthorized", message));
        }
        let peer = || Caller::of_peer(request.extensions().get::<Peer>().copied());
        let deadline = match headers.get(&REQUEST_TIMEOUT) {
            None => state.config.deadline,
            Some(value) => seconds(value)?.min(state.config.longest_deadline),
        };
        let partition = headers.get(&PARTITION).map(|value| match value.to_str() {
            Ok(name) if !name.is_empty() && name.len() <= LONGEST_NAME => Ok(Arc::from(name)),
            _ => Err(Failure::bad_request("x-embed-partition must be 1 to 128 ASCII characters")),
        });
        Ok(Self {
            caller: key.map_or_else(peer, Caller::Key),
            started,
            deadline: started + deadline,
            partition: partition.transpose()?,
        })
    }
}

/// A header's number of seconds.
fn seconds(value: &HeaderValue) -> Result<Duration, Failure> {
    let seconds = value.to_str().ok().and_then(|text| text.trim().parse::<f64>().ok());
    let duration = seconds.filter(|seconds| *seconds > 0.0);
    duration
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| Failure::bad_request("x-request-timeout must be a number of seconds above 0"))
}

/// A handler panicked. What it said may hold anything, so it isn't told to anybody.
fn panicked(panic: Box<dyn Any + Send>) -> Failure {
    drop(panic);
    Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "something is wrong here; the log says what")
}

/// The request's line in the log, also when its client goes away before the answer.
struct Log<'a> {
    dialect: Dialect,
    id: &'a HeaderValue,
    started: Instant,
    answered: bool,
    span: Span,
}

impl Log<'_> {
    /// What everything that happens for the request happens in.
    fn begin(&self) -> Span {
        tracing::info_span!(
            "request",
            request_id = self.id(),
            dialect = self.dialect.as_str(),
            status = Empty,
            latency_ms = Empty,
            code = Empty,
            service = Empty,
            model = Empty,
            space = Empty,
            rows = Empty,
            text_bytes = Empty,
            cache_hits = Empty,
        )
    }

    fn id(&self) -> &str {
        self.id.to_str().unwrap_or("-")
    }

    fn answered(mut self, response: &Response, failure: Option<&Failure>) {
        self.answered = true;
        let (request_id, dialect, status) = (self.id(), self.dialect.as_str(), response.status().as_u16());
        let latency_ms = self.started.elapsed().as_secs_f64() * 1e3;
        let wanted = tracing::enabled!(target: FIGURES, Level::DEBUG);
        if wanted {
            let code = failure.map(|failure| failure.code);
            tracing::record_all!(self.span, status = status, latency_ms = latency_ms, code = code);
        }
        if let Some(record) = response.extensions().get::<Record>() {
            let info = &record.offer.entry.info;
            if wanted {
                tracing::record_all!(
                    self.span,
                    service = info.service(),
                    model = record.offer.entry.name,
                    space = info.space().id(),
                    rows = record.rows,
                    text_bytes = record.bytes,
                    cache_hits = record.hits,
                );
            }
            tracing::info!(
                request_id,
                dialect,
                status,
                latency_ms,
                service = info.service(),
                model = record.offer.entry.name,
                space = info.space().id(),
                rows = record.rows,
                text_bytes = record.bytes,
                cache_hits = record.hits,
                "embedded"
            );
            return;
        }
        let Some(failure) = failure else {
            tracing::debug!(request_id, dialect, status, latency_ms, "answered");
            return;
        };
        let code = failure.code;
        match &failure.cause {
            Some(cause) if status >= 500 => {
                let error = chain(cause);
                tracing::warn!(request_id, dialect, status, latency_ms, code, error, "failed");
            }
            _ => tracing::info!(request_id, dialect, status, latency_ms, code, "refused"),
        }
    }
}

impl Drop for Log<'_> {
    fn drop(&mut self) {
        if !self.answered {
            let latency_ms = self.started.elapsed().as_secs_f64() * 1e3;
            tracing::info!(
                request_id = self.id(),
                dialect = self.dialect.as_str(),
                latency_ms,
                "client went away"
            );
        }
    }
}

/// An error and what caused it, in one line. Errors of this workspace hold no texts.
fn chain(error: &Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let _ = write!(line, ": {cause}");
        source = cause.source();
    }
    line
}
