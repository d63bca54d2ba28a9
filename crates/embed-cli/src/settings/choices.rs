//! The choices among settings: plain names, which say nothing of how they are carried out.

use clap::ValueEnum;

/// What embeds. The names of those with one model are those of the sections that hold their settings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ServiceChoice {
    /// A model of the E5 family inside this process.
    #[default]
    E5,
    /// An Ollama server.
    Ollama,
    /// English by Ollama, all else by E5: rows are of two spaces.
    Hybrid,
}

/// Where vectors are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum CachePlace {
    /// In both if a Redis is named, else in memory.
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
