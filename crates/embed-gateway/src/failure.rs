//! Failures of requests.

use std::borrow::Cow;
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use embed_core::{Error, ErrorKind, Retry};

use crate::admission::{ADMISSION, LIMIT};
use crate::json::BadJson;

/// Why a request failed. The message never contains a text of the request.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) status: StatusCode,
    /// The cause as one word, for clients that branch and for logs.
    pub(crate) code: &'static str,
    pub(crate) message: String,
    /// The field that is wrong.
    pub(crate) param: Option<&'static str>,
    /// The text that is wrong.
    pub(crate) row: Option<usize>,
    pub(crate) retry_after: Option<Duration>,
    /// The limit or rule that refused the request, for the log and the metrics.
    pub(crate) limit: Option<&'static str>,
    /// The cause, only for the log: it may contain details that callers shouldn't see.
    pub(crate) cause: Option<Error>,
}

/// The default of `Retry-After`.
pub(crate) const SOON: Duration = Duration::from_secs(1);

/// The result of a handler.
pub(crate) type Outcome = Result<Response, Failure>;

impl Failure {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { status, code, message, param: None, row: None, retry_after: None, limit: None, cause: None }
    }

    /// The request is invalid.
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", message)
    }

    /// The request exceeds a limit.
    pub(crate) fn too_large(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message).with_limit("rows")
    }

    /// The gateway isn't set up for this.
    pub(crate) fn not_set_up(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_IMPLEMENTED, "not_set_up", message)
    }

    pub(crate) fn with_param(mut self, param: &'static str) -> Self {
        self.param = Some(param);
        self
    }

    pub(crate) fn with_limit(mut self, limit: &'static str) -> Self {
        self.limit = Some(limit);
        self
    }

    pub(crate) fn with_row(mut self, row: usize) -> Self {
        self.row = Some(row);
        self
    }

    /// The failure of one text.
    pub(crate) fn of_row(error: Error, row: usize) -> Self {
        Self::from(error).with_row(row)
    }

    /// Removes the row, for a request with only one text.
    pub(crate) fn without_row(mut self) -> Self {
        self.row = None;
        self
    }

    /// The message with the index of the text.
    pub(crate) fn full_message(&self) -> Cow<'_, str> {
        self.row.map_or(Cow::Borrowed(&self.message), |row| format!("text {row}: {}", self.message).into())
    }
}

/// The table from the kinds of [`Error`] to statuses. Messages about a back end, not the request, are replaced, because
/// they may contain addresses and paths.
impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let (status, replacement) = match error.kind() {
            ErrorKind::InvalidInput | ErrorKind::InputTooLong => (StatusCode::BAD_REQUEST, None),
            ErrorKind::ModelNotFound => {
                let what = "doesn't have the model; whoever runs this gateway must install it there";
                (StatusCode::SERVICE_UNAVAILABLE, Some(of_back_end(&error, what)))
            }
            ErrorKind::RateLimited => (StatusCode::TOO_MANY_REQUESTS, None),
            ErrorKind::Overloaded => (StatusCode::SERVICE_UNAVAILABLE, None),
            ErrorKind::Timeout => {
                (StatusCode::GATEWAY_TIMEOUT, Some("the deadline was over before the answer".to_owned()))
            }
            ErrorKind::Unavailable => {
                (StatusCode::SERVICE_UNAVAILABLE, Some(of_back_end(&error, UNAVAILABLE)))
            }
            ErrorKind::Unauthorized => {
                (StatusCode::BAD_GATEWAY, Some(of_back_end(&error, "refuses this gateway")))
            }
            ErrorKind::Protocol | ErrorKind::DimensionMismatch => {
                (StatusCode::BAD_GATEWAY, Some(of_back_end(&error, "gave an answer that is no vector")))
            }
            ErrorKind::SpaceMismatch => {
                (StatusCode::BAD_GATEWAY, Some(of_back_end(&error, "answered in another vector space")))
            }
            _ => {
                let what = "something is wrong here; the log says what";
                (StatusCode::INTERNAL_SERVER_ERROR, Some(what.to_owned()))
            }
        };
        let retry_after = match error.retry() {
            Retry::Temporary { after } if status != StatusCode::GATEWAY_TIMEOUT => {
                Some(after.unwrap_or(SOON))
            }
            _ => None,
        };
        let message = replacement.unwrap_or_else(|| told(&error));
        let mut failure = Self::new(status, error.kind().as_str(), message);
        failure.retry_after = retry_after;
        let limit = error.context().find_map(|(name, value)| (name == LIMIT).then_some(value));
        failure.limit = limit.and_then(|limit| ADMISSION.into_iter().find(|known| *known == limit));
        failure.cause = Some(error);
        failure
    }
}

/// What to do about an unavailable back end.
const UNAVAILABLE: &str = "doesn't answer now; it is looked for, and used as soon as it answers. Try again later, or name \
                           another model: GET /v1/models says which are available. Whoever runs this gateway finds the \
                           cause in its log: most often the back end isn't running, or has another address than the \
                           settings say";

/// A sentence about a back end, with its route's name if there is a router.
fn of_back_end(error: &Error, what: &str) -> String {
    match error.context().find(|(name, _)| *name == "route") {
        Some((_, route)) => format!("the back end `{route}` {what}"),
        None => format!("the back end {what}"),
    }
}

/// The part of an error for callers: its message and the numbers of its context, which are about the text. Other facts
/// are names of routes, servers and files, which aren't for callers.
fn told(error: &Error) -> String {
    let numbers = error.context().filter(|(_, value)| value.parse::<f64>().is_ok());
    let facts: Vec<_> = numbers.map(|(name, value)| format!("{name}: {value}")).collect();
    let facts = if facts.is_empty() { String::new() } else { format!(" ({})", facts.join(", ")) };
    format!("{}{facts}", error.message())
}

impl From<BadJson> for Failure {
    fn from(error: BadJson) -> Self {
        Self::bad_request(error.to_string())
    }
}

/// Attaches the failure to the response; the middleware renders it in the dialect's shape.
impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_is_told_numbers_and_no_names() {
        let error = Error::new(ErrorKind::InputTooLong, "the text is too long")
            .with_context("tokens", 612)
            .with_context("server", "http://10.0.0.1")
            .with_context("route", "ollama");
        assert_eq!(Failure::from(error).message, "the text is too long (tokens: 612)");
    }
}
