//! The error object of OpenAI.

use serde_json::{Value, json};

use crate::failure::Failure;

/// The error object, which also replaces a failed row in a partial answer.
pub(crate) fn error(failure: &Failure) -> Value {
    let mut error = json!({
        "message": failure.full_message(), "type": type_of(failure), "param": failure.param,
        "code": code_of(failure),
    });
    if let Some(row) = failure.row {
        error["row"] = row.into();
    }
    json!({ "error": error })
}

fn type_of(failure: &Failure) -> &'static str {
    match failure.status.as_u16() {
        401 => "authentication_error",
        429 => "rate_limit_error",
        400..=499 => "invalid_request_error",
        _ => "server_error",
    }
}

fn code_of(failure: &Failure) -> &'static str {
    match failure.code {
        "unauthorized" => "invalid_api_key",
        "rate_limited" => "rate_limit_exceeded",
        "input_too_long" => "context_length_exceeded",
        code => code,
    }
}
