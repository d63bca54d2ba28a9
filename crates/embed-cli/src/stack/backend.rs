//! The back ends themselves: E5 in this process, and Ollama.

use embed_core::Error;
use embed_encoder::assets::DataHome;
use embed_encoder::{Encoder, EncoderConfig};
use embed_ollama::OllamaEmbedder;

use crate::settings::Settings;

pub(crate) async fn e5(settings: &Settings, home: DataHome) -> Result<Encoder, Error> {
    Encoder::load(settings.e5.clone().with_home(home)).await
}

pub(crate) async fn ollama(settings: &Settings) -> Result<OllamaEmbedder, Error> {
    OllamaEmbedder::connect(settings.ollama.clone()).await
}

/// The longest text that an embedder with these settings takes, in bytes.
pub(crate) fn max_text_bytes() -> usize {
    EncoderConfig::default().max_text_bytes
}
