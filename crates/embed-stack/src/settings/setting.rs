//! A setting: its names, its type, and access to its value.

use std::fmt;

use embed_core::Error;
use serde_json::Value;

use super::choices::Names;
use super::kind::{Given, SettingKind};
use super::values::Settings;

/// Shown instead of a secret.
pub(super) const HIDDEN: &str = "***";

/// A setting: its names, its type, and access to its value.
#[derive(Clone, Copy)]
pub struct Setting {
    /// Its path in the file: `section.name`, or only a name.
    pub key: &'static str,
    /// The environment variable.
    pub variable: &'static str,
    /// The flag, without its dashes, and the name of its value. Settings of several sections may share a flag, which then
    /// sets the one of the service that embeds.
    pub flag: Option<(&'static str, &'static str)>,
    /// Its description, in sentences.
    pub help: &'static str,
    /// An example value in TOML, for a setting without a default.
    pub example: &'static str,
    /// Whether its value is kept out of messages. `get` hides the secret part.
    pub secret: bool,
    pub(super) kind: SettingKind,
}

impl Setting {
    pub(super) const fn new(
        key: &'static str,
        variable: &'static str,
        help: &'static str,
        kind: SettingKind,
    ) -> Self {
        Self { key, variable, flag: None, help, example: "", secret: false, kind }
    }

    pub(super) const fn flag(mut self, name: &'static str, value: &'static str) -> Self {
        self.flag = Some((name, value));
        self
    }

    pub(super) const fn example(mut self, example: &'static str) -> Self {
        self.example = example;
        self
    }

    pub(super) const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    /// The section of the file, which is empty for the top level, and the name in it.
    #[must_use]
    pub fn path(&self) -> (&'static str, &'static str) {
        self.key.split_once('.').unwrap_or(("", self.key))
    }

    /// The value as it is shown, which is also a TOML literal; `None` if there is none.
    #[must_use]
    pub fn get(&self, settings: &Settings) -> Option<Value> {
        self.kind.get(settings)
    }

    /// What is allowed, as the end of a sentence with "must be".
    #[must_use]
    pub fn allowed(&self) -> String {
        self.kind.allowed()
    }

    /// Checks a value as a variable or a flag has it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](embed_core::ErrorKind::Config) if it isn't allowed, without the value if that is secret.
    pub fn check(&self, text: &str) -> Result<(), Error> {
        self.kind.set(&mut Settings::default(), &Given::Text(text.to_owned()))
    }

    /// The names that it may have; `None` if it isn't a choice between some.
    #[must_use]
    pub fn choices(&self) -> Option<Names> {
        match self.kind {
            SettingKind::Choice { of, .. } => Some(of),
            _ => None,
        }
    }

    /// Whether it takes several texts, which are separated by commas outside of a file.
    #[must_use]
    pub fn takes_several(&self) -> bool {
        matches!(self.kind, SettingKind::Texts { .. })
    }
}

impl fmt::Debug for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Setting").field(&self.key).finish()
    }
}

/// The kind of a setting whose value is a field, such as `field!(Count 100, path.to.field)`.
macro_rules! field {
    (Path, $($field:ident).+) => {
        SettingKind::Path {
            set: |settings, path| settings.$($field).+ = Some(path),
            get: |settings| settings.$($field).+.as_ref(),
        }
    };
    (Choice $of:ty, $($field:ident).+) => {
        SettingKind::Choice {
            of: <$of as $crate::settings::choices::Choice>::NAMES,
            set: |settings, name| {
                settings.$($field).+ = $crate::settings::choices::Choice::by_name(name)?;
                Ok(())
            },
            get: |settings| $crate::settings::choices::Choice::name(settings.$($field).+).to_owned(),
        }
    };
    (Count $most:expr, $($field:ident).+) => {
        SettingKind::Count {
            most: $most,
            set: |settings, count| settings.$($field).+ = count as usize,
            get: |settings| Some(settings.$($field).+ as u64),
        }
    };
    (Switch, $($field:ident).+) => {
        SettingKind::Switch {
            set: |settings, on| settings.$($field).+ = on,
            get: |settings| settings.$($field).+,
        }
    };
    (Seconds $least:expr, $($field:ident).+) => {
        SettingKind::Seconds {
            least: $least,
            set: |settings, time| settings.$($field).+ = time,
            get: |settings| Some(settings.$($field).+),
        }
    };
}
pub(super) use field;
