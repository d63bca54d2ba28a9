#![doc = include_str!("../README.md")]

mod address;
mod batch;
mod call;
mod config;
mod embedder;
mod failure;
mod handshake;
mod hub;
mod identity;
mod models;
mod profile;
mod secret;
mod servers;
mod stats;
mod transport;
mod truncate;
mod version;
mod wire;

pub use address::{ollama_host, server_url, shown_url};
pub use embed_core::BreakerConfig;

pub use config::{KeepAlive, ModelOptions, OllamaConfig, Preset, Upgrade};
pub use embedder::{OllamaEmbedder, ServerStatus};
pub use hub::{hub_id, library_name};
pub use identity::Identity;
pub use models::{ModelDetails, ModelSummary, OllamaModels, Pull, PullProgress};
pub use profile::Profile;
pub use secret::Secret;
pub use stats::OllamaStats;
pub use version::Version;
