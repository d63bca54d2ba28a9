//! Fields that dialects have in common, and failures for invalid ones.

use std::sync::Arc;

use axum::http::StatusCode;

use crate::failure::Failure;
use crate::json::{JsonKind, List, Value};

/// The failure for a field of the wrong kind.
pub(crate) fn wrong_kind(field: &'static str, expected: &str, got: JsonKind) -> Failure {
    Failure::bad_request(format!("`{field}` must be {expected}, not a JSON {}", got.as_str()))
        .with_param(field)
}

/// The texts of a field that is a string or an array of strings; `None` if it is missing.
pub(crate) fn texts(
    value: Value,
    field: &'static str,
    limit: usize,
) -> Result<Option<Vec<Arc<str>>>, Failure> {
    match value {
        Value::Null => Ok(None),
        Value::Text(text) => Ok(Some(vec![text])),
        Value::List(list) => strings(list, field, limit).map(Some),
        other => Err(wrong_kind(field, "a string or an array of strings", other.kind())),
    }
}

/// The texts of an array of strings.
pub(crate) fn strings(list: List, field: &'static str, limit: usize) -> Result<Vec<Arc<str>>, Failure> {
    match list.odd {
        Some(_) if list.ids => Err(Failure::bad_request(format!(
            "`{field}` holds token ids, which mean nothing without the tokenizer that made them: send the text \
             (in LangChain: check_embedding_ctx_length=False)"
        ))
        .with_param(field)),
        Some((0, JsonKind::Array)) => Err(Failure::bad_request(format!(
            "`{field}` holds arrays inside of its array: send one array of strings"
        ))
        .with_param(field)),
        Some((index, kind)) => {
            let message = format!("`{field}` must hold strings, and element {index} is a JSON {}", kind.as_str());
            Err(Failure::bad_request(message).with_param(field))
        }
        None if list.too_many => Err(too_many(limit)),
        None => Ok(list.texts),
    }
}

/// The failure for a request with too many texts.
pub(crate) fn too_many(limit: usize) -> Failure {
    Failure::too_large(format!("the request has more than {limit} texts: send fewer at once"))
}

/// The failure for an unknown model. It repeats the caller's name for the model, unless that is too long to be one.
pub(crate) fn unknown_model(message: impl FnOnce(&str) -> String, name: &str) -> Failure {
    const LONGEST: usize = 200;
    let shown = if name.len() <= LONGEST { name } else { "…" };
    Failure::new(StatusCode::NOT_FOUND, "model_not_found", message(shown)).with_param("model")
}
