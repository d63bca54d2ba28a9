//! The client against the double of every profile, and against real servers.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod bad_input;
mod batches;
mod cancel;
mod conformance;
mod contract;
mod failures;
mod fleet;
mod heals;
mod identity;
mod kill;
mod limits;
mod loading;
mod models;
mod outage;
mod real;
mod traced;
mod truncation;

use std::time::Duration;

use embed_core::{EmbedRequest, EmbedResponse, Error, Role};
use embed_ollama::{OllamaConfig, OllamaEmbedder};
use embed_testkit::ollama::OllamaDouble;

/// One version of each profile, and both sides of the borders inside of them.
const VERSIONS: [&str; 15] = [
    "0.2.0", "0.3.0", "0.3.4", "0.3.5", "0.3.6", "0.5.4", "0.5.7", "0.5.8", "0.9.3", "0.11.11", "0.12.11",
    "0.13.5", "0.18.0", "0.30.0", "0.99.0",
];

fn config(double: &OllamaDouble) -> OllamaConfig {
    OllamaConfig::new("all-minilm", double.url())
}

/// Settings with pauses that a test in real time can wait for.
fn quick(double: &OllamaDouble) -> OllamaConfig {
    config(double).with_pauses(Duration::from_millis(5), Duration::from_millis(20))
}

async fn connect(config: OllamaConfig) -> OllamaEmbedder {
    OllamaEmbedder::connect(config).await.unwrap()
}

fn request<T: AsRef<str>>(texts: &[T]) -> EmbedRequest {
    EmbedRequest::new(texts.iter().map(AsRef::as_ref), Role::Document)
}

fn texts(count: usize) -> Vec<String> {
    (0..count).map(|i| format!("text number {i} of {count}")).collect()
}

/// Row i is the double's vector of text i, or says why it isn't.
fn rows_are_right(double: &OllamaDouble, response: &EmbedResponse, texts: &[String]) -> Result<(), String> {
    assert_eq!(response.len(), texts.len());
    for (index, (row, text)) in response.rows().zip(texts).enumerate() {
        let row = row.map_err(|error| format!("row {index}: {error}"))?;
        let cosine = embed_core::vector::cosine(row.vector(), &double.vector_of(text)).unwrap();
        if cosine < 0.9999 {
            return Err(format!("row {index} is another text's: cosine {cosine}"));
        }
    }
    Ok(())
}

fn field(error: &Error, name: &str) -> Option<String> {
    error.context().find(|(is, _)| *is == name).map(|(_, value)| value.to_owned())
}
