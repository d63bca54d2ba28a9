//! Settings while they are being read, and the problems found.

use std::fmt;

use embed_core::{Error, ErrorKind};

use super::build::declared_document;
use super::check::check;
use super::choices::{CachePlace, PRESET_KEYS};
use super::kind::Given;
use super::origin::Origin;
use super::setting::Setting;
use super::values::Settings;

/// All problems of the settings, one sentence each.
#[derive(Debug)]
pub struct Problems(Vec<String>);

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
        self.check_document();
        let settings = self.settings;
        if let CachePlace::Redis | CachePlace::Both = settings.cache.place
            && let Err(error) = settings.redis()
        {
            let origin = settings.origins.get("cache.place").unwrap_or(&Origin::Default);
            self.problems.push(format!("{origin}: vectors are to be kept in Redis, but {error}"));
        }
        if self.problems.is_empty() { Ok(settings) } else { Err(Problems(self.problems)) }
    }

    /// Finds settings that name models beside those of the document.
    fn check_other_models(&mut self) {
        for key in PRESET_KEYS {
            if let Some(origin) = self.settings.origins.get(key).cloned() {
                let what = "the file's [[model]] tables say which models there are; remove one of them";
                self.problem(&origin, key, what);
            }
        }
    }

    /// Checks the document of the file, and the names of routes in other settings.
    fn check_document(&mut self) {
        let declared = self.settings.declared.clone();
        let document = match declared_document(&declared, &self.settings) {
            _ if declared.is_empty() => None,
            Ok(document) => Some(document),
            Err((at, error)) => {
                self.problem(&at, "model", error);
                None
            }
        };
        if let Some(document) = &document {
            check(document, &declared, &mut |at, key, what| self.problem(at, key, what));
            if !self.settings.is_preset() {
                self.check_other_models();
            }
        }
        let routes = self.settings.routes();
        if let Some(route) = self.settings.router.pins.values().find(|route| !routes.contains(&&***route)) {
            let what = format!(
                "must be PARTITION=ROUTE where ROUTE is one of {}, and {route} isn't",
                routes.join(", ")
            );
            self.problem(&self.settings.origin("router.pins"), "router.pins", what);
        }
        if self.settings.only.is_some() {
            // The model that is named takes every text.
            self.settings.router.pins.clear();
        }
        if let Some(only) = &self.settings.only
            && !declared.names().any(|name| name == only)
        {
            let names: Vec<_> = declared.names().collect();
            self.problems
                .push(format!("--model: the file declares no such model; it has {}", names.join(", ")));
        }
    }
}

impl Problems {
    /// All problems.
    #[must_use]
    pub fn all(&self) -> &[String] {
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
