//! The middleware of every request: id, key, deadline, errors in the dialect's shape, access log.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use embed_core::TraceContext;
use futures::FutureExt;
use tokio::time::Instant;
use tracing::Instrument;

use super::access_log::Access;
use crate::api::{Dialect, render};
use crate::auth::{Peer, key_of};
use crate::body::decoded;
use crate::caller::Caller;
use crate::context::{Context, LONGEST_NAME, REQUEST_ID};
use crate::failure::Failure;
use crate::host::{host_of, is_here};
use crate::state::State;

/// The number of seconds after which the caller stops waiting.
const REQUEST_TIMEOUT: HeaderName = HeaderName::from_static("x-request-timeout");
/// The collection or tenant that the texts belong to.
const PARTITION: HeaderName = HeaderName::from_static("x-embed-partition");

/// The trace that the request belongs to (W3C Trace Context).
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// The vendors' data of the trace.
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

const JSON: &str = "application/json";

/// Paths that need no key: probes, the API description, and the page, which contains no data.
const OPEN: [&str; 5] = ["/", "/healthz", "/readyz", "/health", "/openapi.json"];

/// Passes a permitted request to its handler, and renders failures in the dialect's shape.
pub(crate) async fn handle(
    axum::extract::State(state): axum::extract::State<Arc<State>>,
    request: Request,
    next: Next,
) -> Response {
    let id = state.ids.of(request.headers());
    let dialect = Dialect::of(request.method(), request.uri().path());
    let observer = state.extensions.observer.as_ref();
    let observed = observer.map(|observer| observer.request(dialect.as_str()));
    let peer = request.extensions().get::<Peer>().cloned();
    let trace = trace_of(request.headers(), &id);
    let address = peer.as_ref().map(|peer| peer.address.ip().to_canonical());
    let mut access = Access::begin(&request, dialect, &id, address, trace.trace_id());
    let carried = observer.and_then(|observer| observer.continue_trace(&access.span, &trace));

    let mut response = match context_of(&state, &request, peer.as_ref(), carried.unwrap_or(trace)) {
        Err(failure) => failure.into_response(),
        Ok(context) => {
            access.key = context.key.clone();
            match expected(&state, &request).and_then(|()| decoded(request)) {
                Err(failure) => failure.into_response(),
                Ok(mut request) => {
                    request.extensions_mut().insert(context);
                    let span = access.span.clone();
                    let handled = AssertUnwindSafe(next.run(request)).catch_unwind().instrument(span);
                    tokio::select! {
                        biased;
                        handled = handled => handled.unwrap_or_else(|panic| panicked(panic).into_response()),
                        () = state.ended() => ending().into_response(),
                    }
                }
            }
        }
    };
    let failure = response.extensions_mut().remove::<Failure>();
    if let Some(failure) = &failure {
        if let Some(limit) = failure.limit {
            state.refused(limit);
        }
        response = render(failure, dialect);
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
    access.answered(response, failure, observed, peer.map(|peer| peer.connection))
}

/// Authenticates a request, and returns the context for its handler.
fn context_of(
    state: &State,
    request: &Request,
    peer: Option<&Peer>,
    trace: TraceContext,
) -> Result<Context, Failure> {
    let headers = request.headers();
    let keys = state.keys();
    let is_open = keys.is_empty() || peer.is_some_and(|peer| peer.admin);
    let host = match (host_of(request), peer) {
        (Ok(host), _) => host,
        // Without a socket a request needs no host.
        (Err(_), None) if !headers.contains_key(header::HOST) => "",
        (Err(why), _) => return Err(Failure::bad_request(why)),
    };
    if is_open && peer.is_some_and(|peer| peer.local) && !is_here(host) {
        let message = "the Host header names another machine; set an API key (TMWS_GATEWAY_API_KEYS) to be \
                       called so";
        return Err(Failure::new(StatusCode::FORBIDDEN, "forbidden", message).with_limit("host"));
    }
    if is_open && state.origins(is_open).refuse(request.method(), headers, host) {
        let message = "web pages of this origin may not call; list it in TMWS_GATEWAY_CORS_ORIGINS";
        return Err(Failure::new(StatusCode::FORBIDDEN, "forbidden", message).with_limit("origin"));
    }
    let key = if keys.is_empty() { None } else { key_of(headers, &keys) };
    let for_anybody =
        OPEN.contains(&request.uri().path()) && matches!(*request.method(), Method::GET | Method::HEAD);
    if key.is_none() && !is_open && !for_anybody {
        let message = "an API key is missing or wrong: send it as `Authorization: Bearer …`";
        return Err(Failure::new(StatusCode::UNAUTHORIZED, "unauthorized", message).with_limit("key"));
    }
    let address = || {
        let address = peer.map(|peer| peer.address.ip());
        address.map_or(Caller::Unknown, Caller::of_address)
    };
    let deadline = match headers.get(&REQUEST_TIMEOUT) {
        None => state.config.deadline,
        Some(value) => seconds(value)?.min(state.config.longest_deadline),
    };
    let partition = headers.get(&PARTITION).map(|value| match value.to_str() {
        Ok(name) if !name.is_empty() && name.len() <= LONGEST_NAME => Ok(Arc::from(name)),
        _ => Err(Failure::bad_request("x-embed-partition must be 1 to 128 ASCII characters")),
    });
    let started = Instant::now();
    Ok(Context {
        caller: key.map_or_else(address, Caller::Key),
        key: key.and_then(|key| Some(keys.get(usize::from(key))?.shared_name())),
        started,
        deadline: started + deadline,
        partition: partition.transpose()?,
        trace,
    })
}

/// Refuses a request with `Expect: 100-continue` that is too large, before its body is read.
fn expected(state: &State, request: &Request) -> Result<(), Failure> {
    let Some(expected) = request.headers().get(header::EXPECT) else { return Ok(()) };
    if !expected.as_bytes().eq_ignore_ascii_case(b"100-continue") {
        let message = "of expectations only 100-continue is known";
        return Err(Failure::new(StatusCode::EXPECTATION_FAILED, "expectation_failed", message));
    }
    let length = request.headers().get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    match length {
        Some(length) if length > state.config.limits.body_bytes as u64 => Err(state.bodies.too_large()),
        _ => Ok(()),
    }
}

/// The request's trace and id. Several `traceparent`s are ignored; several `tracestate`s are joined.
fn trace_of(headers: &HeaderMap, id: &HeaderValue) -> TraceContext {
    let mut trace = TraceContext::new().with_request_id(id.to_str().unwrap_or_default());
    let mut parents = headers.get_all(&TRACEPARENT).iter();
    if let (Some(parent), None) = (parents.next(), parents.next()) {
        trace = trace.with_traceparent(parent.to_str().unwrap_or_default().trim());
    }
    let states: Result<Vec<_>, _> = headers.get_all(&TRACESTATE).iter().map(HeaderValue::to_str).collect();
    trace.with_tracestate(&states.unwrap_or_default().join(","))
}

/// The failure of a request that wasn't answered before the end of the drain.
fn ending() -> Failure {
    let message = "the gateway is shutting down; send the request to another one, or again in a moment";
    Failure::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message).with_limit("draining")
}

/// Parses a header's number of seconds.
fn seconds(value: &HeaderValue) -> Result<Duration, Failure> {
    let seconds = value.to_str().ok().and_then(|text| text.trim().parse::<f64>().ok());
    let duration = seconds.filter(|seconds| *seconds > 0.0);
    duration
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| Failure::bad_request("x-request-timeout must be a number of seconds above 0"))
}

/// A handler panicked. The panic's message may contain anything, so it is dropped.
fn panicked(panic: Box<dyn Any + Send>) -> Failure {
    drop(panic);
    Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "something is wrong here; the log says what")
}
