//! The back ends themselves: E5 in this process, and Ollama.

use embed_core::Error;
use embed_e5::assets::DataHome;
use embed_e5::{E5Config, E5Embedder};
use embed_ollama::OllamaEmbedder;

use crate::settings::Settings;

pub(crate) async fn e5(settings: &Settings, home: DataHome) -> Result<E5Embedder, Error> {
    E5Embedder::load(settings.e5.clone().with_home(home)).await
}

pub(crate) async fn ollama(settings: &Settings) -> Result<OllamaEmbedder, Error> {
    OllamaEmbedder::connect(settings.ollama.clone()).await
}

/// The longest text that an embedder with these settings takes, in bytes.
pub(crate) fn max_text_bytes() -> usize {
    E5Config::default().max_text_bytes
}
