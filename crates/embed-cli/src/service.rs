//! From settings to an embedder.

use clap::ValueEnum;
use embed_cache::{Cache, Cached};
use embed_core::{Embedder, Error, Role, Truncation};
use embed_e5::assets::DataHome;
use embed_e5::{E5Config, E5Embedder};
use embed_ollama::OllamaEmbedder;

use crate::cache;
use crate::settings::Settings;

/// What a command embeds with.
pub(crate) struct Stack {
    pub(crate) embedder: Box<dyn Embedder>,
    cache: Option<Cache>,
}

/// Who embeds. The names are those of the sections that hold their settings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Service {
    /// A model of the E5 family inside this process.
    #[default]
    E5,
    /// An Ollama server.
    Ollama,
}

/// The embedder that the settings describe.
pub(crate) async fn load(settings: &Settings, home: DataHome) -> Result<Box<dyn Embedder>, Error> {
    Ok(match settings.service {
        Service::E5 => Box::new(E5Embedder::load(settings.e5.clone().with_home(home)).await?),
        Service::Ollama => Box::new(OllamaEmbedder::connect(settings.ollama.clone()).await?),
    })
}

/// The same, behind a cache.
pub(crate) async fn load_cached(settings: &Settings, home: DataHome) -> Result<Stack, Error> {
    let cache = cache::open(settings).await?;
    let embedder = load(settings, home).await?;
    Ok(match &cache {
        Some(tiers) => Stack { embedder: Box::new(Cached::new(embedder, tiers.clone())), cache },
        None => Stack { embedder, cache },
    })
}

impl Stack {
    /// Waits until the cache has stored what it is to store.
    pub(crate) async fn finish(&self) {
        if let Some(cache) = &self.cache {
            cache::finish(cache).await;
        }
    }
}

/// The longest text that an embedder with these settings takes, in bytes.
pub(crate) fn max_text_bytes() -> usize {
    E5Config::default().max_text_bytes
}

pub(crate) fn parse_role(name: &str) -> Result<Role, String> {
    name.parse().map_err(|error: Error| error.to_string())
}

pub(crate) fn parse_truncation(name: &str) -> Result<Truncation, String> {
    name.parse().map_err(|error: Error| error.to_string())
}
