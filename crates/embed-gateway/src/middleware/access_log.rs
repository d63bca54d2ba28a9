//! The access log and the metrics of a request. Both are written when the answer has been sent, or when its client has
//! disconnected.

use std::error::Error as StdError;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Waker, Poll};

use axum::body::{Body, HttpBody};
use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use embed_core::Error;
use hyper::body::{Frame, SizeHint};
use tokio::time::Instant;
use tracing::field::{Empty, display};
use tracing::{Level, Span};

use crate::answer::AnswerRecord;
use crate::api::Dialect;
use crate::connections::Connection;
use crate::failure::Failure;
use crate::hooks::ObservedRequest;

/// The target to enable at debug to record a request's figures on its span too, and not only in the log line. In a log that
/// shows spans, recording them costs more than the log lines.
const FIGURES: &str = "embed_gateway::figures";

/// The log line of a request, which is also written if its client disconnects before the answer.
pub(crate) struct Access {
    id: HeaderValue,
    dialect: Dialect,
    method: Method,
    /// The path's template.
    path: Option<MatchedPath>,
    peer: Option<IpAddr>,
    /// The name of the caller's key.
    pub(crate) key: Option<Arc<str>>,
    /// The caller's trace, if any.
    trace: Option<Box<str>>,
    bytes_in: Option<u64>,
    started: Instant,
    pub(crate) span: Span,
    end: Option<AnswerEnd>,
    logged: bool,
}

/// What is logged of an answer.
struct AnswerEnd {
    status: StatusCode,
    record: Option<AnswerRecord>,
    failure: Option<Failure>,
    observed: Option<Box<dyn ObservedRequest>>,
}

impl Access {
    pub(crate) fn begin(
        request: &Request,
        dialect: Dialect,
        id: &HeaderValue,
        peer: Option<IpAddr>,
        trace: Option<&str>,
    ) -> Self {
        let length = request.headers().get(header::CONTENT_LENGTH);
        let mut access = Self {
            id: id.clone(),
            dialect,
            method: request.method().clone(),
            // None for an unknown path, which may contain anything, even a text.
            path: request.extensions().get().cloned(),
            peer,
            key: None,
            trace: trace.map(Into::into),
            bytes_in: length.and_then(|length| length.to_str().ok()?.parse().ok()),
            started: Instant::now(),
            span: Span::none(),
            end: None,
            logged: false,
        };
        // The span of everything that is done for the request.
        access.span = tracing::info_span!(
            "request",
            request_id = access.id(),
            dialect = dialect.as_str(),
            trace_id = access.trace,
            status = Empty,
            latency_ms = Empty,
            code = Empty,
            service = Empty,
            model = Empty,
            space = Empty,
            rows = Empty,
            text_bytes = Empty,
            cache_hits = Empty,
        );
        access
    }

    fn id(&self) -> &str {
        self.id.to_str().unwrap_or("-")
    }

    /// Returns the response with a body that logs when it has been sent.
    pub(crate) fn answered(
        mut self,
        mut response: Response,
        failure: Option<Failure>,
        observed: Option<Box<dyn ObservedRequest>>,
        connection: Option<Arc<Connection>>,
    ) -> Response {
        let status = response.status();
        self.end = Some(AnswerEnd { status, record: response.extensions_mut().remove(), failure, observed });
        let no_body = self.method == Method::HEAD
            || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        response.map(|body| {
            let ended = no_body || body.is_end_stream();
            Body::new(LoggedBody { body, sent: 0, ended, access: Some(self), connection })
        })
    }

    /// Logs and counts the answer.
    fn ended(mut self, bytes_out: u64) {
        let Some(AnswerEnd { status, record, failure, observed }) = self.end.take() else { return };
        self.logged = true;
        if let Some(observed) = observed {
            observed.answered(status.as_u16());
        }
        let (request_id, dialect, status) = (self.id(), self.dialect.as_str(), status.as_u16());
        let (method, path) = (self.method.as_str(), self.path.as_ref().map(MatchedPath::as_str));
        let (key, peer, trace_id, bytes_in) =
            (self.key.as_deref(), self.peer.map(display), self.trace.as_deref(), self.bytes_in);
        let latency_ms = self.started.elapsed().as_secs_f64() * 1e3;
        let wanted = tracing::enabled!(target: FIGURES, Level::DEBUG);
        if wanted {
            let code = failure.as_ref().map(|failure| failure.code);
            tracing::record_all!(self.span, status = status, latency_ms = latency_ms, code = code);
        }
        if let Some(record) = record {
            let (model, info) = (&record.model, record.model.info());
            let (service, model) = (model.entry.info.service(), &*model.entry.name);
            let space = info.map(|info| info.space().id());
            let AnswerRecord { rows, bytes: text_bytes, hits: cache_hits, tokens, .. } = record;
            if wanted {
                tracing::record_all!(
                    self.span,
                    service = service,
                    model = model,
                    space = space,
                    rows = rows,
                    text_bytes = text_bytes,
                    cache_hits = cache_hits,
                );
            }
            tracing::info!(
                request_id, dialect, method, path, status, latency_ms, key, peer, trace_id, service, model,
                space, rows, tokens, text_bytes, cache_hits, bytes_in, bytes_out, "embedded"
            );
            return;
        }
        let Some(Failure { code, limit, cause, .. }) = failure else {
            tracing::debug!(
                request_id, dialect, method, path, status, latency_ms, key, peer, trace_id, bytes_in,
                bytes_out, "answered"
            );
            return;
        };
        match &cause {
            Some(cause) if status >= 500 => {
                let error = chain(cause);
                tracing::warn!(
                    request_id, dialect, method, path, status, latency_ms, key, peer, trace_id, bytes_in,
                    bytes_out, code, limit, error, "failed"
                );
            }
            _ => tracing::info!(
                request_id, dialect, method, path, status, latency_ms, key, peer, trace_id, bytes_in,
                bytes_out, code, limit, "refused"
            ),
        }
    }
}

impl Drop for Access {
    fn drop(&mut self) {
        if self.logged {
            return;
        }
        let latency_ms = self.started.elapsed().as_secs_f64() * 1e3;
        let (request_id, dialect) = (self.id(), self.dialect.as_str());
        let (method, path) = (self.method.as_str(), self.path.as_ref().map(MatchedPath::as_str));
        let (key, peer, trace_id) = (self.key.as_deref(), self.peer.map(display), self.trace.as_deref());
        tracing::info!(
            request_id,
            dialect,
            method,
            path,
            latency_ms,
            key,
            peer,
            trace_id,
            bytes_in = self.bytes_in,
            "client went away"
        );
    }
}

/// An error and its causes in one line. Errors of this workspace contain no texts.
fn chain(error: &Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let _ = write!(line, ": {cause}");
        source = cause.source();
    }
    line
}

/// The body of an answer, which records whether all of it was sent.
struct LoggedBody {
    body: Body,
    sent: u64,
    ended: bool,
    access: Option<Access>,
    connection: Option<Arc<Connection>>,
}

impl HttpBody for LoggedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        waker: &mut Waker<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(waker);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                self.sent += frame.data_ref().map_or(0, |data| data.len() as u64);
                self.ended = self.body.is_end_stream();
            }
            Poll::Ready(None) => self.ended = true,
            _ => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for LoggedBody {
    fn drop(&mut self) {
        let Some(access) = self.access.take() else { return };
        if !self.ended {
            return drop(access);
        }
        let sent = self.sent;
        match &self.connection {
            Some(connection) => connection.at_end(Box::new(move || access.ended(sent))),
            None => access.ended(sent),
        }
    }
}
