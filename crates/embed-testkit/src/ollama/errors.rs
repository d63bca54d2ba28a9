//! What each version says when something is wrong.

use serde_json::{Value, json};

use super::version::Since;

/// Status and body.
pub(super) type StatusAndBody = (u16, Value);

pub(super) fn error(status: u16, text: impl Into<String>) -> StatusAndBody {
    (status, json!({ "error": text.into() }))
}

/// A runner that crashed, as a version reports it.
pub(super) fn crash(version: Since) -> StatusAndBody {
    let text = |route: &str| format!("do embedding request: Post \"http://127.0.0.1:41235{route}\": EOF");
    match () {
        () if version.before("0.3.5") => error(500, "failed to generate embedding"),
        () if version.before("0.6.1") => (500, json!({ "error": {} })),
        () if version.before("0.13.3") => error(500, text("/embedding")),
        () if version.before("0.30.0") => error(400, text("/embedding")),
        () => error(400, text("/v1/embeddings")),
    }
}

pub(super) fn too_long(version: Since) -> StatusAndBody {
    error(
        400,
        match () {
            () if version.before("0.12.0") => "input length exceeds maximum context length",
            () if version.before("0.13.3") => "input exceeds maximum context length",
            () => "the input length exceeds the context length",
        },
    )
}
