//! The values of settings that are choices, as plain names without their implementation.

use embed_core::{Error, ErrorKind};
use embed_router::{ENGLISH_ROUTE, MULTILINGUAL_ROUTE};

/// The names of a choice, each with what it means, which may be empty.
pub type Names = &'static [(&'static str, &'static str)];

/// A choice between some values with names.
pub(super) trait Choice: Copy + PartialEq + 'static {
    /// Every value.
    const VALUES: &'static [Self];
    /// Its names in the same order.
    const NAMES: Names;

    fn name(self) -> &'static str {
        let of = Self::VALUES.iter().zip(Self::NAMES).find(|(value, _)| **value == self);
        of.map_or("", |(_, (name, _))| name)
    }

    fn by_name(name: &str) -> Result<Self, Error> {
        let of =
            Self::VALUES.iter().zip(Self::NAMES).find(|(_, (known, _))| known.eq_ignore_ascii_case(name));
        let none = || Error::new(ErrorKind::Config, format!("invalid variant: {name}"));
        of.map(|(value, _)| *value).ok_or_else(none)
    }
}

/// An enumeration whose values have names and descriptions; the first is the default.
macro_rules! choice {
    ($(#[doc = $doc:literal])* $of:ident { $($(#[$mark:meta])* $value:ident = $name:literal: $help:literal,)+ }) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub enum $of { $(#[doc = $help] $(#[$mark])* $value,)+ }

        impl Choice for $of {
            const VALUES: &'static [Self] = &[$(Self::$value),+];
            const NAMES: Names = &[$(($name, $help)),+];
        }
    };
}

choice! {
    /// The service that embeds. One with a single model has the name of the section with its settings.
    ServiceChoice {
        // The name is older than the models of other families.
        #[default]
        E5 = "e5": "A model inside this process",
        Ollama = "ollama": "An Ollama server",
        Hybrid = "hybrid":
            "English by Ollama or all-MiniLM in this process, everything else by E5: rows are in two spaces",
    }
}

choice! {
    /// Where vectors are cached.
    CachePlace {
        #[default]
        Auto = "auto": "In both if a Redis is configured, else in memory",
        Memory = "memory": "In this process, as long as it lives",
        Redis = "redis": "In Redis, for all processes",
        Both = "both": "In memory first, then in Redis",
        Off = "off": "Nowhere",
    }
}

#[cfg(feature = "gateway")]
choice! {
    /// The format of log lines.
    LogFormat {
        #[default]
        Human = "human": "For people",
        Json = "json": "One JSON object per line",
    }
}

/// The route to the model in this process that reads English in the hybrid service.
pub(super) const LOCAL_ENGLISH_ROUTE: &str = "minilm";

/// The settings that say which models a service has, and have no place beside declared models.
pub const PRESET_KEYS: [&str; 4] = ["service", "e5.model", "ollama.model", "router.english_model"];

/// The routes that presets have.
pub(super) const PRESET_ROUTES: [&str; 3] = [ENGLISH_ROUTE, LOCAL_ENGLISH_ROUTE, MULTILINGUAL_ROUTE];
