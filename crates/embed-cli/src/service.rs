//! From flags to an embedder.

use std::num::NonZeroUsize;

use clap::{Args, ValueEnum};
use embed_cache::{Cache, Cached};
use embed_core::{Embedder, Error, Role, Truncation};
use embed_e5::assets::DataHome;
use embed_e5::{E5Config, E5Embedder, Precision, Profile};

use crate::cache::{self, CacheArgs};
use crate::commands::ollama::ServerArgs;

/// The flags that choose who embeds, shared by the commands.
#[derive(Debug, Args)]
pub(crate) struct ServiceArgs {
    /// Who embeds the texts.
    #[arg(long, value_enum, default_value_t = Service::E5)]
    service: Service,

    /// The model; `embed models list` and `embed ollama list` name them. Without it
    /// multilingual-e5-small, and with Ollama TMWS_OLLAMA_MODEL, then all-minilm.
    #[arg(long)]
    model: Option<String>,

    /// In which arithmetic: int8 is fastest, f32 is the reference.
    #[arg(long, default_value = "int8", value_parser = parse_precision)]
    precision: Precision,

    /// Threads that embed; as many as there are processors unless you say so.
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,

    #[command(flatten)]
    ollama: ServerArgs,
}

/// What a command embeds with.
pub(crate) struct Stack {
    pub(crate) embedder: Box<dyn Embedder>,
    cache: Option<Cache>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Service {
    /// A model of the E5 family inside this process.
    E5,
    /// An Ollama server.
    Ollama,
}

impl ServiceArgs {
    pub(crate) async fn load(&self, home: DataHome) -> Result<Box<dyn Embedder>, Error> {
        match self.service {
            Service::E5 => self.load_e5(home).await,
            Service::Ollama => self.ollama.connect(self.model.as_deref()).await,
        }
    }

    /// The same, behind a cache.
    pub(crate) async fn load_cached(&self, home: DataHome, cache: &CacheArgs) -> Result<Stack, Error> {
        let cache = cache.open().await?;
        let embedder = self.load(home).await?;
        Ok(match &cache {
            Some(tiers) => Stack { embedder: Box::new(Cached::new(embedder, tiers.clone())), cache },
            None => Stack { embedder, cache },
        })
    }

    async fn load_e5(&self, home: DataHome) -> Result<Box<dyn Embedder>, Error> {
        let mut config = E5Config::default().with_home(home).with_precision(self.precision);
        if let Some(model) = &self.model {
            config = config.with_profile(Profile::by_name(model)?);
        }
        config.threads = self.threads;
        Ok(Box::new(E5Embedder::load(config).await?))
    }
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

pub(crate) fn parse_precision(name: &str) -> Result<Precision, String> {
    name.parse().map_err(|error: Error| error.to_string())
}

pub(crate) fn parse_role(name: &str) -> Result<Role, String> {
    name.parse().map_err(|error: Error| error.to_string())
}

pub(crate) fn parse_truncation(name: &str) -> Result<Truncation, String> {
    name.parse().map_err(|error: Error| error.to_string())
}
