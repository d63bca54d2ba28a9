//! The error object of Ollama.

use std::borrow::Cow;

use serde_json::{Value, json};

use crate::failure::Failure;

/// The error object, which also replaces a failed row in a partial answer.
pub(crate) fn error(failure: &Failure) -> Value {
    let message: Cow<'_, str> = match failure.code {
        "input_too_long" if failure.row.is_none() => "input length exceeds maximum context length".into(),
        // Two spaces, as in Ollama.
        "overloaded" => "server busy, please try again.  maximum pending requests exceeded".into(),
        _ => failure.full_message(),
    };
    json!({ "error": message })
}
