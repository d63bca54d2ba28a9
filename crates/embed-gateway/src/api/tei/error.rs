//! The error object of TEI.

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::failure::Failure;

/// The error object, which also replaces a failed row in a partial answer.
pub(crate) fn error(failure: &Failure) -> Value {
    json!({ "error": failure.full_message(), "error_type": type_of(failure) })
}

fn type_of(failure: &Failure) -> &'static str {
    match failure.status.as_u16() {
        _ if failure.code == "empty" => "Empty",
        _ if failure.code == "other_kind" => "Backend",
        _ if failure.code == "overloaded" || failure.status == StatusCode::TOO_MANY_REQUESTS => "Overloaded",
        400..=499 => "Validation",
        503 => "Unhealthy",
        _ => "Backend",
    }
}
