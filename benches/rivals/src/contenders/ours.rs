//! Our own libraries, in their default settings.

use anyhow::Result;
use embed_core::{EmbedRequest, Embedder, Role as TextRole, Truncation};
use embed_encoder::{Encoder, EncoderConfig, Precision};
use embed_ollama::{OllamaConfig, OllamaEmbedder};
use embed_rivals_worker::{Contender, Role};
use tokio::runtime::{Builder, Runtime};

use super::ollama::MODEL;

/// `embed-encoder`.
pub(super) struct E5 {
    runtime: Runtime,
    embedder: Encoder,
}

impl E5 {
    pub(super) fn load(precision: &str) -> Result<Self> {
        let config = EncoderConfig::default().with_precision(precision.parse::<Precision>()?);
        Ok(Self { runtime: runtime()?, embedder: Encoder::load_blocking(config)? })
    }
}

impl Contender for E5 {
    fn setting(&self) -> String {
        format!("EncoderConfig::default(), {} threads", self.embedder.threads())
    }

    fn embed(&self, texts: &[String], role: Role) -> Result<Vec<Vec<f32>>> {
        embed(&self.runtime, &self.embedder, texts, role)
    }
}

/// `embed-ollama`.
pub(super) struct Ollama {
    runtime: Runtime,
    embedder: OllamaEmbedder,
    servers: usize,
}

impl Ollama {
    pub(super) fn connect(urls: &[&str]) -> Result<Self> {
        let runtime = runtime()?;
        // As every contender asks for, or each change would load the model anew.
        let mut config = OllamaConfig::new(MODEL, "").with_servers(urls.iter().copied());
        config.options.num_ctx = Some(512);
        let embedder = runtime.block_on(OllamaEmbedder::connect(config))?;
        Ok(Self { runtime, embedder, servers: urls.len() })
    }
}

impl Contender for Ollama {
    fn setting(&self) -> String {
        format!("OllamaConfig::new, servers: {}", self.servers)
    }

    fn embed(&self, texts: &[String], role: Role) -> Result<Vec<Vec<f32>>> {
        embed(&self.runtime, &self.embedder, texts, role)
    }
}

/// Calls come from several threads at a time, each of which waits for its own.
fn runtime() -> Result<Runtime> {
    Ok(Builder::new_multi_thread().worker_threads(1).enable_all().build()?)
}

fn embed(runtime: &Runtime, embedder: &impl Embedder, texts: &[String], role: Role) -> Result<Vec<Vec<f32>>> {
    let role = match role {
        Role::Query => TextRole::Query,
        Role::Passage => TextRole::Document,
    };
    let request = EmbedRequest::new(texts.iter().map(String::as_str), role).with_truncation(Truncation::End);
    let (matrix, width) = runtime.handle().block_on(embedder.embed(request))?.into_matrix()?;
    Ok(matrix.chunks(width).map(<[f32]>::to_vec).collect())
}
