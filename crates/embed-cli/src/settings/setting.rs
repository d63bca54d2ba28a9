//! A setting: its names, its type, and access to its value.

use clap::ValueEnum;
use clap::builder::PossibleValue;
use embed_core::{Error, ErrorKind};

use super::kind::SettingKind;

/// Shown instead of a secret.
pub(crate) const HIDDEN: &str = "***";

/// A setting: its names, its type, and access to its value.
#[derive(Clone, Copy)]
pub(crate) struct Setting {
    /// Its path in the file: `section.name`, or only a name.
    pub(crate) key: &'static str,
    /// The environment variable.
    pub(crate) variable: &'static str,
    /// The flag, without its dashes, and the name of its value. Settings of several sections may share a flag, which then
    /// sets the one of the service that embeds.
    pub(crate) flag: Option<(&'static str, &'static str)>,
    /// Its description, in sentences.
    pub(crate) help: &'static str,
    /// An example value in TOML, for a setting without a default.
    pub(crate) example: &'static str,
    /// Whether its value is kept out of messages. `get` hides the secret part.
    pub(crate) secret: bool,
    pub(crate) kind: SettingKind,
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
    pub(crate) fn path(&self) -> (&'static str, &'static str) {
        self.key.split_once('.').unwrap_or(("", self.key))
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
            of: $crate::settings::setting::names::<$of>,
            set: |settings, name| $crate::settings::setting::choose(name, &mut settings.$($field).+),
            get: |settings| $crate::settings::setting::name(settings.$($field).+),
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

pub(super) fn names<T: ValueEnum>() -> Vec<PossibleValue> {
    T::value_variants().iter().filter_map(ValueEnum::to_possible_value).collect()
}

pub(crate) fn name<T: ValueEnum>(value: T) -> String {
    value.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

pub(super) fn choose<T: ValueEnum>(name: &str, field: &mut T) -> Result<(), Error> {
    *field = T::from_str(name, true).map_err(|reason| Error::new(ErrorKind::Config, reason))?;
    Ok(())
}
