//! The choices among settings: plain names, without their implementation.

use clap::ValueEnum;

/// What embeds. A service with one model has the name of the section with its settings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ServiceChoice {
    /// A model of the E5 family inside this process.
    #[default]
    E5,
    /// An Ollama server.
    Ollama,
    /// English by Ollama, everything else by E5: rows are in two spaces.
    Hybrid,
}

/// Where vectors are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum CachePlace {
    /// In both if a Redis is set, else in memory.
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

/// How a line of the log is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Human,
    /// A JSON object a line.
    Json,
}
