#![doc = include_str!("../README.md")]

mod address;
mod config;
mod embedder;
mod failure;
mod handshake;
mod hub;
mod identity;
mod models;
mod profile;
mod server;
mod servers;
mod stats;
mod version;
mod wait;
mod wire;

pub use address::{ollama_host, server_url};
pub use embed_core::BreakerConfig;
pub use embed_remote::{Secret, Upgrade, shown_url};

pub use config::{KeepAlive, ModelOptions, OllamaConfig, Preset};
pub use embedder::{OllamaEmbedder, ServerStatus};
pub use hub::{hub_id, library_name};
pub use identity::Identity;
pub use models::{ModelDetails, ModelSummary, OllamaModels, Pull, PullProgress};
pub use profile::Profile;
pub use stats::OllamaStats;
pub use version::Version;
