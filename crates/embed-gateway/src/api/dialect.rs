//! The dialects, and which one a path belongs to.

use axum::http::Method;

/// Whose words a request is answered in; its path says so.
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
