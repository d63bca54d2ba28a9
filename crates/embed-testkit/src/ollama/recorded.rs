//! A request that came to a double.

use axum::http::HeaderMap;
use serde_json::Value;

/// A request that came.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// Its path.
    pub path: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, if it is JSON.
    pub body: Value,
}

impl Recorded {
    /// A header's value, if it is there.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// How many texts it asks to embed.
    #[must_use]
    pub fn inputs(&self) -> usize {
        match &self.body["input"] {
            Value::Array(texts) => texts.len(),
            Value::String(_) => 1,
            _ => 0,
        }
    }
}
