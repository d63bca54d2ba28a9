//! The values of settings that are choices, as plain names without their implementation.

use clap::ValueEnum;
use embed_router::{ENGLISH_ROUTE, MULTILINGUAL_ROUTE};

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

impl ServiceChoice {
    /// Its name in a setting.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
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

/// The route to the model in this process that reads English in the hybrid service.
pub(super) const LOCAL_ENGLISH_ROUTE: &str = "minilm";

/// The settings that say which models a service has, and have no place beside declared models.
pub(crate) const PRESET_KEYS: [&str; 4] = ["service", "e5.model", "ollama.model", "router.english_model"];

/// The routes that presets have.
pub(super) const PRESET_ROUTES: [&str; 3] = [ENGLISH_ROUTE, LOCAL_ENGLISH_ROUTE, MULTILINGUAL_ROUTE];
