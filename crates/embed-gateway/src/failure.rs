//! Why a request isn't answered, and how each dialect says it.

use std::borrow::Cow;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use embed_core::{Error, ErrorKind, Retry};
use serde_json::{Value, json};

use crate::admission::{ADMISSION, LIMIT};
use crate::json::BadJson;

/// Whose words a request is answered in; its path says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    OpenAi,
    Ollama,
    Tei,
    Native,
}

/// Why a request isn't answered. Its message never has a text to embed in it.
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
    /// The limit or the rule that the request met, for the log and the metrics.
    pub(crate) limit: Option<&'static str>,
    /// What stays in the log: it may say more of this machine than a caller should know.
    pub(crate) cause: Option<Error>,
}

/// The encodings of bodies that are decoded, as a header says them.
pub(crate) const ACCEPTED: &str = "gzip, deflate";

/// When to come back, where nobody knows better.
pub(crate) const SOON: Duration = Duration::from_secs(1);

/// The result of a handler.
pub(crate) type Outcome = Result<Response, Failure>;

impl Failure {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { status, code, message, param: None, row: None, retry_after: None, limit: None, cause: None }
    }

    /// The request is wrong.
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", message)
    }

    /// The request is more than a limit lets through.
    pub(crate) fn too_large(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message).with_limit("rows")
    }

    /// What was asked for isn't set up here.
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

    /// The same for a request that has only one text.
    pub(crate) fn without_row(mut self) -> Self {
        self.row = None;
        self
    }

    /// The failure in the words of a dialect.
    pub(crate) fn render(&self, dialect: Dialect) -> Response {
        let unknown_path = matches!(self.code, "unknown_path" | "wrong_method");
        let (kind, body) = match dialect {
            // Gin answers these in plain text, and some clients tell them from a missing model by it.
            Dialect::Ollama if unknown_path => ("text/plain", self.message.clone()),
            _ => ("application/json", self.body(dialect).to_string()),
        };
        let mut response = Response::new(Body::from(body));
        let status = self.status(dialect);
        *response.status_mut() = status;
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        // Tries that are used up here are not used up for the caller.
        let refused = matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
        if let Some(after) = self.retry_after.or(refused.then_some(SOON)) {
            // In whole seconds, rounded up: coming back too early costs another refusal.
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.status == StatusCode::UNSUPPORTED_MEDIA_TYPE {
            response.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static(ACCEPTED));
        }
        response
    }

    /// The status, which TEI chooses otherwise in two cases.
    fn status(&self, dialect: Dialect) -> StatusCode {
        match (dialect, self.code) {
            (Dialect::Tei, "input_too_long" | "invalid_input" | "invalid_request") => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            (Dialect::Tei, "overloaded") => StatusCode::TOO_MANY_REQUESTS,
            _ => self.status,
        }
    }

    /// The error object of a dialect; also what stands for a failed row in a partial answer.
    pub(crate) fn body(&self, dialect: Dialect) -> Value {
        match dialect {
            Dialect::OpenAi => {
                let mut error = json!({
                    "message": self.words(), "type": self.openai_type(), "param": self.param,
                    "code": self.openai_code(),
                });
                if let Some(row) = self.row {
                    error["row"] = row.into();
                }
                json!({ "error": error })
            }
            Dialect::Ollama => json!({ "error": self.ollama_message() }),
            Dialect::Tei => json!({ "error": self.words(), "error_type": self.tei_type() }),
            Dialect::Native => {
                let mut error = json!({ "code": self.code, "message": self.words() });
                if let Some(row) = self.row {
                    error["row"] = row.into();
                }
                json!({ "error": error })
            }
        }
    }

    fn openai_type(&self) -> &'static str {
        match self.status.as_u16() {
            401 => "authentication_error",
            429 => "rate_limit_error",
            400..=499 => "invalid_request_error",
            _ => "server_error",
        }
    }

    fn openai_code(&self) -> &'static str {
        match self.code {
            "unauthorized" => "invalid_api_key",
            "rate_limited" => "rate_limit_exceeded",
            "input_too_long" => "context_length_exceeded",
            code => code,
        }
    }

    /// The message, and which text it is about.
    fn words(&self) -> Cow<'_, str> {
        self.row.map_or(Cow::Borrowed(&self.message), |row| format!("text {row}: {}", self.message).into())
    }

    fn ollama_message(&self) -> Cow<'_, str> {
        match self.code {
            "input_too_long" if self.row.is_none() => "input length exceeds maximum context length".into(),
            // Two spaces, as Ollama has it.
            "overloaded" => "server busy, please try again.  maximum pending requests exceeded".into(),
            _ => self.words(),
        }
    }

    fn tei_type(&self) -> &'static str {
        match self.status.as_u16() {
            _ if self.code == "empty" => "Empty",
            _ if self.code == "other_kind" => "Backend",
            _ if self.code == "overloaded" || self.status == StatusCode::TOO_MANY_REQUESTS => "Overloaded",
            400..=499 => "Validation",
            503 => "Unhealthy",
            _ => "Backend",
        }
    }
}

/// The one table from the kinds of [`Error`] to statuses. What a back end says of itself, and not of the
/// request, is replaced by a sentence of ours: it may name addresses and paths.
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

/// What can be done about a back end that isn't there.
const UNAVAILABLE: &str = "doesn't answer now; it is looked for, and used as soon as it answers. Try again later, or name \
                           another model: GET /v1/models says which are available. Whoever runs this gateway finds the \
                           cause in its log: most often the back end isn't running, or has another address than the \
                           settings say";

/// A sentence about a back end, with the name of its route if there is a router.
fn of_back_end(error: &Error, what: &str) -> String {
    match error.context().find(|(name, _)| *name == "route") {
        Some((_, route)) => format!("the back end `{route}` {what}"),
        None => format!("the back end {what}"),
    }
}

/// What a caller is told of an error: its message, and of its facts the numbers, which are about the text. Names are
/// those of routes, servers and files, and mean nothing outside.
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

/// The failure travels in the response, and the middleware, which knows the dialect, words it.
impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl Dialect {
    pub(crate) fn of(method: &Method, path: &str) -> Self {
        match path {
            "/embed" | "/info" | "/health" | "/tokenize" | "/decode" | "/similarity" => Self::Tei,
            "/rerank" | "/predict" | "/embed_all" | "/embed_sparse" => Self::Tei,
            // Who reads this path is a browser, or looks whether an Ollama is here.
            "/" if *method == Method::POST => Self::Tei,
            "/embeddings" => Self::OpenAi,
            _ if path == "/v1" || path.starts_with("/v1/") => Self::OpenAi,
            _ if path == "/api" || path.starts_with("/api/") => Self::Ollama,
            _ => Self::Native,
        }
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Ollama => "ollama",
            Self::Tei => "tei",
            Self::Native => "native",
        }
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

    #[test]
    fn whoever_is_refused_is_told_when_to_come_back() {
        for error in [
            Error::new(ErrorKind::Unavailable, "gone").with_retry(Retry::Exhausted),
            Error::new(ErrorKind::ModelNotFound, "no such model"),
            Error::new(ErrorKind::RateLimited, "too often"),
        ] {
            let response = Failure::from(error).render(Dialect::Ollama);
            assert_eq!(response.headers()[header::RETRY_AFTER], "1", "{}", response.status());
        }
        let wrong = Failure::bad_request("wrong").render(Dialect::OpenAi);
        assert!(!wrong.headers().contains_key(header::RETRY_AFTER));
    }

    #[test]
    fn each_dialect_says_which_back_end_is_missing_and_what_to_do() {
        let cause = Error::new(ErrorKind::Unavailable, "no answer from http://10.0.0.1:11434");
        let error = Error::new(ErrorKind::Unavailable, "the service at http://10.0.0.1:11434 isn't there")
            .with_context("server", "10.0.0.1:11434")
            .with_context("route", "ollama")
            .with_source(cause);
        for failure in [Failure::from(error.clone()), Failure::of_row(error, 3)] {
            for (dialect, place) in [
                (Dialect::OpenAi, "/error/message"),
                (Dialect::Ollama, "/error"),
                (Dialect::Tei, "/error"),
                (Dialect::Native, "/error/message"),
            ] {
                let body = failure.body(dialect);
                let said = body.pointer(place).and_then(Value::as_str).unwrap();
                for part in
                    ["the back end `ollama` doesn't answer now", "Try again later", "GET /v1/models", "log"]
                {
                    assert!(said.contains(part), "{dialect:?}: {said}");
                }
                assert!(!body.to_string().contains("10.0.0.1"), "{body}");
            }
        }
    }

    #[test]
    fn kinds_have_their_statuses() {
        let retry =
            |error: Error| error.with_retry(Retry::Temporary { after: Some(Duration::from_millis(1500)) });
        for (kind, openai, tei) in [
            (ErrorKind::InvalidInput, 400, 422),
            (ErrorKind::InputTooLong, 400, 422),
            (ErrorKind::RateLimited, 429, 429),
            (ErrorKind::Overloaded, 503, 429),
            (ErrorKind::Timeout, 504, 504),
            (ErrorKind::Unavailable, 503, 503),
            (ErrorKind::Unauthorized, 502, 502),
            (ErrorKind::SpaceMismatch, 502, 502),
            (ErrorKind::Internal, 500, 500),
        ] {
            let failure = Failure::from(retry(Error::new(kind, "at http://10.0.0.1")));
            let response = failure.render(Dialect::OpenAi);
            assert_eq!((response.status().as_u16(), failure.status(Dialect::Tei).as_u16()), (openai, tei));
            let after = response.headers().get(header::RETRY_AFTER).map(|value| value.to_str().unwrap());
            assert_eq!(after, (kind != ErrorKind::Timeout).then_some("2"), "{kind}");
            let told = failure.message.contains("10.0.0.1");
            assert_eq!(told, matches!(openai, 400 | 429) || kind == ErrorKind::Overloaded, "{kind}");
        }
    }
}
