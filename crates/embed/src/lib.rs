#![doc = include_str!("../README.md")]

#[cfg(feature = "encoder")]
pub mod blocking;

#[cfg(feature = "encoder")]
mod model;
#[cfg(feature = "pull")]
mod pull;
#[cfg(feature = "settings")]
pub mod stack;

// All of it: whoever depends on this crate needs no other for requests, rows, spaces, errors and layers.
pub use embed_core::*;

#[cfg(feature = "pull")]
pub use embed_assets as assets;
#[cfg(any(feature = "memory", feature = "redis"))]
pub use embed_cache as cache;
#[cfg(feature = "e5")]
pub use embed_e5 as e5;
#[cfg(feature = "encoder")]
pub use embed_encoder as encoder;
#[cfg(feature = "gateway")]
pub use embed_gateway as gateway;
#[cfg(feature = "metrics")]
pub use embed_metrics as metrics;
#[cfg(feature = "minilm")]
pub use embed_minilm as minilm;
#[cfg(feature = "ollama")]
pub use embed_ollama as ollama;
#[cfg(feature = "openai")]
pub use embed_openai as openai;
#[cfg(feature = "router")]
pub use embed_router as router;

#[cfg(feature = "encoder")]
pub use embed_encoder::{Encoder, EncoderConfig, Precision, Profile};
#[cfg(feature = "encoder")]
pub use model::{ModelBuilder, load, model};
#[cfg(feature = "pull")]
pub use {embed_assets::Progress, pull::Pull};
