//! The dialects and their paths.

use axum::http::Method;

/// The API whose format a request and its answer have, by its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    OpenAi,
    Ollama,
    Tei,
    Native,
}

impl Dialect {
    pub(crate) fn of(method: &Method, path: &str) -> Self {
        match path {
            "/embed" | "/info" | "/health" | "/tokenize" | "/decode" | "/similarity" => Self::Tei,
            "/rerank" | "/predict" | "/embed_all" | "/embed_sparse" => Self::Tei,
            // A `GET` of this path comes from a browser, or from a client that checks for Ollama.
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
