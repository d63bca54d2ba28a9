//! The client against a double with a provider's limits, and against this project's gateway.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod batches;
mod contract;
mod failures;
mod gateway;
mod identity;
mod keys;
mod lengths;
mod properties;
mod throttled;

use std::time::Duration;

use embed_core::{EmbedRequest, EmbedResponse, Error, Role};
use embed_openai::{OpenAiConfig, OpenAiEmbedder};
use embed_testkit::openai::OpenAiDouble;

fn config(double: &OpenAiDouble) -> OpenAiConfig {
    OpenAiConfig::new("text-embedding-3-small", double.url())
}

/// Settings with pauses that a test in real time can wait for.
fn quick(double: &OpenAiDouble) -> OpenAiConfig {
    config(double).with_pauses(Duration::from_millis(5), Duration::from_millis(20))
}

async fn connect(config: OpenAiConfig) -> OpenAiEmbedder {
    OpenAiEmbedder::connect(config).await.unwrap()
}

fn request<T: AsRef<str>>(texts: &[T]) -> EmbedRequest {
    EmbedRequest::new(texts.iter().map(AsRef::as_ref), Role::Document)
}

fn texts(count: usize) -> Vec<String> {
    (0..count).map(|i| format!("text number {i} of {count}")).collect()
}

/// Row i is the double's vector of text i.
fn rows_are_right(double: &OpenAiDouble, response: &EmbedResponse, texts: &[String]) {
    assert_eq!(response.len(), texts.len());
    for (index, (row, text)) in response.rows().zip(texts).enumerate() {
        let row = row.unwrap_or_else(|error| panic!("row {index}: {error:?}"));
        is_of(double, row.vector(), text);
    }
}

fn is_of(double: &OpenAiDouble, vector: &[f32], text: &str) {
    let cosine = embed_core::vector::cosine(vector, &double.vector_of(text)).unwrap();
    assert!(cosine > 0.9999, "a row is another text's: cosine {cosine}");
}

fn field(error: &Error, name: &str) -> Option<String> {
    error.context().find(|(is, _)| *is == name).map(|(_, value)| value.to_owned())
}

/// The inputs of each request so far.
fn inputs(double: &OpenAiDouble) -> Vec<usize> {
    double.requests().iter().map(embed_testkit::ollama::Recorded::inputs).collect()
}
