//! The values of settings that are choices, as plain names without their implementation.

use clap::ValueEnum;

/// The service that embeds. One with a single model has the name of the section with its settings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ServiceChoice {
    /// A model inside this process.
    // The name is older than the models of other families.
    #[default]
    E5,
    /// An Ollama server.
    Ollama,
    /// English by Ollama or all-MiniLM in this process, everything else by E5: rows are in two spaces.
    Hybrid,
}

/// Where vectors are cached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum CachePlace {
    /// In both if a Redis is configured, else in memory.
    #[default]
    Auto,
    /// In this process, as long as it lives.
    Memory,
    /// In Redis, for all processes.
    Redis,
    /// In memory first, then in Redis.
    Both,
    /// Nowhere.
    Off,
}

/// The format of log lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Human,
    /// One JSON object per line.
    Json,
}
