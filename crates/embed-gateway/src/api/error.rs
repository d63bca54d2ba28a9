//! Renders a failure as a response in the dialect of the request.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde_json::Value;

use super::dialect::Dialect;
use super::{native, ollama, openai, tei};
use crate::body::ACCEPTED;
use crate::failure::{Failure, SOON};

/// The failure as a response in a dialect.
pub(crate) fn render(failure: &Failure, dialect: Dialect) -> Response {
    let unknown_path = matches!(failure.code, "unknown_path" | "wrong_method");
    let (kind, body) = match dialect {
        // Gin answers these in plain text, by which some clients distinguish them from a missing model.
        Dialect::Ollama if unknown_path => ("text/plain", failure.message.clone()),
        _ => ("application/json", body(failure, dialect).to_string()),
    };
    let mut response = Response::new(Body::from(body));
    let status = status_in(failure, dialect);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    // The caller may retry even if the retries here are exhausted.
    let refused = matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
    if let Some(after) = failure.retry_after.or(refused.then_some(SOON)) {
        // Whole seconds, rounded up: retrying too early would cost another refusal.
        let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
    }
    if failure.status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if failure.status == StatusCode::UNSUPPORTED_MEDIA_TYPE {
        response.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static(ACCEPTED));
    }
    response
}

/// The error object of a dialect.
fn body(failure: &Failure, dialect: Dialect) -> Value {
    match dialect {
        Dialect::OpenAi => openai::error(failure),
        Dialect::Ollama => ollama::error(failure),
        Dialect::Tei => tei::error(failure),
        Dialect::Native => native::error(failure),
    }
}

/// The status, which differs in TEI in two cases.
fn status_in(failure: &Failure, dialect: Dialect) -> StatusCode {
    match (dialect, failure.code) {
        (Dialect::Tei, "input_too_long" | "invalid_input" | "invalid_request") => {
            StatusCode::UNPROCESSABLE_ENTITY
        }
        (Dialect::Tei, "overloaded") => StatusCode::TOO_MANY_REQUESTS,
        _ => failure.status,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use embed_core::{Error, ErrorKind, Retry};

    use super::*;

    #[test]
    fn a_refusal_has_retry_after() {
        for error in [
            Error::new(ErrorKind::Unavailable, "gone").with_retry(Retry::Exhausted),
            Error::new(ErrorKind::ModelNotFound, "no such model"),
            Error::new(ErrorKind::RateLimited, "too often"),
        ] {
            let response = render(&Failure::from(error), Dialect::Ollama);
            assert_eq!(response.headers()[header::RETRY_AFTER], "1", "{}", response.status());
        }
        let wrong = render(&Failure::bad_request("wrong"), Dialect::OpenAi);
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
                let body = body(&failure, dialect);
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
            let response = render(&failure, Dialect::OpenAi);
            assert_eq!(
                (response.status().as_u16(), status_in(&failure, Dialect::Tei).as_u16()),
                (openai, tei)
            );
            let after = response.headers().get(header::RETRY_AFTER).map(|value| value.to_str().unwrap());
            assert_eq!(after, (kind != ErrorKind::Timeout).then_some("2"), "{kind}");
            let told = failure.message.contains("10.0.0.1");
            assert_eq!(told, matches!(openai, 400 | 429) || kind == ErrorKind::Overloaded, "{kind}");
        }
    }
}
