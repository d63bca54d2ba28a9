//! `ollama-rs`: all texts in one request, as its documentation shows it.

use anyhow::Result;
use embed_rivals_worker::{Contender, Role};
use ollama_rs::Ollama;
use ollama_rs::generation::embeddings::request::{EmbeddingsInput, GenerateEmbeddingsRequest};
use ollama_rs::models::ModelOptions;
use tokio::runtime::Runtime;

/// A client of one server.
pub(crate) struct OllamaRs {
    runtime: Runtime,
    client: Ollama,
}

impl OllamaRs {
    pub(crate) fn connect(url: &str) -> Result<Self> {
        Ok(Self { runtime: Runtime::new()?, client: Ollama::try_new(url)? })
    }
}

impl Contender for OllamaRs {
    fn setting(&self) -> String {
        "all texts in one request".to_owned()
    }

    fn embed(&self, texts: &[String], _: Role) -> Result<Vec<Vec<f32>>> {
        let input = EmbeddingsInput::Multiple(texts.to_vec());
        // The same options from all clients, or each change would load the model anew.
        let request = GenerateEmbeddingsRequest::new("all-minilm".to_owned(), input)
            .options(ModelOptions::default().num_ctx(512));
        Ok(self.runtime.block_on(self.client.generate_embeddings(request))?.embeddings)
    }
}
