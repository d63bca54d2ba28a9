#![doc = include_str!("../README.md")]

mod config;
mod embedder;
mod failure;
mod fleet;
mod handshake;
mod identity;
mod key;
mod limits;
mod pace;
mod server;
mod space;
mod stats;
mod wire;

pub use config::{OpenAiConfig, Prompts};
pub use embed_core::BreakerConfig;
pub use embed_remote::{Secret, Upgrade, shown_url};
pub use embedder::{OpenAiEmbedder, ServerStatus};
pub use identity::Identity;
pub use stats::OpenAiStats;
