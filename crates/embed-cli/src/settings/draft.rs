//! Settings while they are being read, and the problems found.

use std::fmt;

use embed_core::{Error, ErrorKind};

use super::choices::CachePlace;
use super::kind::Given;
use super::origin::Origin;
use super::setting::Setting;
use super::values::Settings;

/// All problems of the settings, one sentence each.
#[derive(Debug)]
pub(crate) struct Problems(Vec<String>);

/// Settings while they are being read.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) settings: Settings,
    pub(super) problems: Vec<String>,
}

impl Draft {
    pub(super) fn set(&mut self, setting: &'static Setting, origin: Origin, text: &str) {
        self.set_given(setting, origin, &Given::Text(text.to_owned()));
    }

    pub(super) fn set_given(&mut self, setting: &'static Setting, origin: Origin, given: &Given) {
        match setting.kind.set(&mut self.settings, given) {
            Ok(()) => {
                self.settings.origins.insert(setting.key, origin);
            }
            Err(error) => self.problem(&origin, setting.key, error),
        }
    }

    pub(super) fn problem(&mut self, origin: &Origin, key: &str, what: impl fmt::Display) {
        self.problems.push(format!("{origin}: {key}: {what}"));
    }

    pub(super) fn finish(mut self) -> Result<Settings, Problems> {
        let settings = self.settings;
        if let CachePlace::Redis | CachePlace::Both = settings.cache.place
            && let Err(error) = settings.redis()
        {
            let origin = settings.origins.get("cache.place").unwrap_or(&Origin::Default);
            self.problems.push(format!("{origin}: vectors are to be kept in Redis, but {error}"));
        }
        if self.problems.is_empty() { Ok(settings) } else { Err(Problems(self.problems)) }
    }
}

impl Problems {
    /// All problems.
    pub(crate) fn all(&self) -> &[String] {
        &self.0
    }
}

impl From<Problems> for Error {
    /// The first problem, since a command that can't start prints only one line.
    fn from(Problems(problems): Problems) -> Self {
        let first = problems.first().map_or("the settings are wrong", String::as_str);
        let message = match problems.len() {
            0 | 1 => first.to_owned(),
            count => format!("{first}; `embed config check` lists all {count} problems"),
        };
        Self::new(ErrorKind::Config, message)
    }
}

/// The known name that was probably intended.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // Two letters in five may be wrong, missing or swapped; beyond that, every name resembles every other.
    const ALIKE: f64 = 0.6;
    let scored = known.map(|known| (strsim::normalized_damerau_levenshtein(name, known), known));
    let best = scored.max_by(|(left, _), (right, _)| left.total_cmp(right))?;
    (best.0 > ALIKE).then_some(best.1)
}
