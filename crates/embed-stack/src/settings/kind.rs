//! The kinds of settings: how a value is parsed from text and from TOML, and which values are allowed.

use std::path::PathBuf;
use std::time::Duration;

use embed_core::{Error, ErrorKind};
use embed_ollama::Preset;
use serde_json::Value;
use toml::de::DeValue;

use super::choices::Names;
use super::values::Settings;

/// The largest pool that `embed-ollama` accepts.
const LARGEST_POOL: u64 = 10_000;

/// 100 years, the longest TTL for Redis.
const LONGEST: f64 = 100.0 * 365.0 * 86_400.0;

/// The value of a setting before it is parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Given {
    /// A text, as in variables and flags; several values are separated by commas.
    Text(String),
    /// Separate values.
    List(Vec<String>),
}

/// The type of a setting, and access to its field.
#[derive(Clone, Copy)]
pub(super) enum SettingKind {
    /// A text, described by `what`. Its setter may refuse it with a message that doesn't quote a secret.
    Text {
        what: &'static str,
        set: fn(&mut Settings, &str) -> Result<(), Error>,
        get: fn(&Settings) -> Option<String>,
    },
    /// The path of a file.
    Path { set: fn(&mut Settings, PathBuf), get: fn(&Settings) -> Option<&PathBuf> },
    /// Several texts, described by `what`; separated by commas outside TOML, where a list is a list and its elements
    /// may have commas.
    Texts {
        what: &'static str,
        set: fn(&mut Settings, &[&str]) -> Result<(), Error>,
        get: fn(&Settings) -> Vec<String>,
    },
    /// One of some names.
    Choice { of: Names, set: fn(&mut Settings, &str) -> Result<(), Error>, get: fn(&Settings) -> String },
    /// A whole number above zero.
    Count { most: u64, set: fn(&mut Settings, u64), get: fn(&Settings) -> Option<u64> },
    /// A number of requests, or the name of a [`Preset`].
    Pool { set: fn(&mut Settings, u64), get: fn(&Settings) -> u64 },
    /// On or off.
    Switch { set: fn(&mut Settings, bool), get: fn(&Settings) -> bool },
    /// Seconds, whole or not.
    Seconds { least: f64, set: fn(&mut Settings, Duration), get: fn(&Settings) -> Option<Duration> },
}

impl SettingKind {
    /// What is allowed, as the end of a sentence with "must be".
    pub(super) fn allowed(&self) -> String {
        match self {
            Self::Text { what, .. } | Self::Texts { what, .. } => (*what).to_owned(),
            Self::Path { .. } => "the path of a file".to_owned(),
            Self::Choice { of, .. } => {
                let names: Vec<_> = of.iter().map(|(name, _)| *name).collect();
                format!("one of {}", names.join(", "))
            }
            Self::Count { most, .. } => format!("a whole number from 1 to {most}"),
            Self::Pool { .. } => format!(
                "a whole number from 1 to {LARGEST_POOL}, or development, staging, production or high_traffic"
            ),
            Self::Switch { .. } => "true or false".to_owned(),
            Self::Seconds { least, .. } => format!("a number of seconds from {least} to {LONGEST}"),
        }
    }

    /// Sets the field to a given value.
    pub(super) fn set(&self, settings: &mut Settings, given: &Given) -> Result<(), Error> {
        let refuse = || self.refusal();
        let text = match (self, given) {
            (_, Given::Text(text)) => text.as_str(),
            (Self::Texts { set, .. }, Given::List(texts)) => {
                let texts: Vec<_> = texts.iter().map(|text| text.trim()).collect();
                return if texts.is_empty() || texts.contains(&"") {
                    Err(refuse())
                } else {
                    set(settings, &texts)
                };
            }
            (_, Given::List(_)) => return Err(refuse()),
        };
        match self {
            Self::Text { .. } | Self::Texts { .. } | Self::Path { .. } if text.is_empty() => {
                return Err(refuse());
            }
            Self::Text { set, .. } => set(settings, text)?,
            Self::Path { set, .. } => set(settings, text.into()),
            Self::Texts { set, .. } => set(settings, &text.split(',').map(str::trim).collect::<Vec<_>>())?,
            Self::Choice { of, set, .. } => {
                let known = of.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
                set(settings, known.ok_or_else(refuse)?.0)?;
            }
            Self::Count { most, set, .. } => set(settings, count(text, *most).ok_or_else(refuse)?),
            Self::Pool { set, .. } => {
                let preset = || Preset::by_name(text).ok().map(|preset| preset.pool_size() as u64);
                set(settings, count(text, LARGEST_POOL).or_else(preset).ok_or_else(refuse)?);
            }
            Self::Switch { set, .. } => set(settings, switch(text).ok_or_else(refuse)?),
            Self::Seconds { least, set, .. } => {
                let seconds = text.parse().ok().filter(|seconds| (*least..=LONGEST).contains(seconds));
                set(settings, seconds.map(Duration::from_secs_f64).ok_or_else(refuse)?);
            }
        }
        Ok(())
    }

    /// The value of a file, if its TOML type fits.
    pub(super) fn given(&self, value: &DeValue<'_>) -> Result<Given, Error> {
        let text = match (self, value) {
            (Self::Texts { .. }, DeValue::String(text)) => return Ok(Given::List(vec![text.to_string()])),
            (Self::Texts { .. }, DeValue::Array(texts)) => {
                let texts = texts.iter().map(|text| text.get_ref().as_str().map(str::to_owned));
                return texts.collect::<Option<_>>().map(Given::List).ok_or_else(|| self.refusal());
            }
            (
                Self::Text { .. } | Self::Path { .. } | Self::Choice { .. } | Self::Pool { .. },
                DeValue::String(text),
            ) => Some(text.to_string()),
            (Self::Count { .. } | Self::Pool { .. } | Self::Seconds { .. }, DeValue::Integer(number)) => {
                i64::from_str_radix(number.as_str(), number.radix()).ok().map(|number| number.to_string())
            }
            (Self::Switch { .. }, DeValue::Boolean(on)) => Some(on.to_string()),
            (Self::Seconds { .. }, DeValue::Float(number)) => Some(number.as_str().to_owned()),
            _ => None,
        };
        text.map(Given::Text).ok_or_else(|| self.refusal())
    }

    /// The value as it is shown, which is also a TOML literal; `None` if there is none.
    pub(super) fn get(&self, settings: &Settings) -> Option<Value> {
        Some(match self {
            Self::Text { get, .. } => get(settings)?.into(),
            Self::Path { get, .. } => get(settings)?.display().to_string().into(),
            Self::Texts { get, .. } => Some(get(settings)).filter(|texts| !texts.is_empty())?.into(),
            Self::Choice { get, .. } => get(settings).into(),
            Self::Count { get, .. } => get(settings)?.into(),
            Self::Pool { get, .. } => get(settings).into(),
            Self::Switch { get, .. } => get(settings).into(),
            Self::Seconds { get, .. } => {
                let time = get(settings)?;
                if time.subsec_nanos() == 0 { time.as_secs().into() } else { time.as_secs_f64().into() }
            }
        })
    }

    fn refusal(&self) -> Error {
        Error::new(ErrorKind::Config, format!("must be {}", self.allowed()))
    }
}

fn count(text: &str, most: u64) -> Option<u64> {
    text.parse().ok().filter(|count| (1..=most).contains(count))
}

/// Parses a switch, in the words that variables may use.
pub(super) fn switch(text: &str) -> Option<bool> {
    match text.to_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}
