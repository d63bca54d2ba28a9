//! The settings: from a file, variables and flags, each overriding the one before.
//!
//! [`TABLE`] has a row for each of them; the readers, `embed config`, the flags and `docs/configuration.md` are all
//! generated from it. A new setting is a row there and, unless a crate's configuration already has it, a field of
//! [`Settings`]. This module uses no other part of the program.

mod address;
mod build;
mod check;
mod choices;
mod declared;
mod document;
mod draft;
mod environment;
mod file;
mod flags;
mod kind;
#[cfg(not(feature = "redis"))]
mod no_redis;
mod origin;
#[cfg(test)]
mod page;
mod preset;
mod read;
mod resolve;
mod setting;
mod table;
mod tables;
mod values;
mod write;

use std::path::Path;

use clap::ArgMatches;

use draft::Draft;

pub(crate) use address::ip;
pub(crate) use choices::{CachePlace, LogFormat, PRESET_KEYS, ServiceChoice};
pub(crate) use document::{BackendSpec, Document, EncoderSource, EncoderSpec, ModelSpec};
pub(crate) use draft::Problems;
pub(crate) use flags::flags;
pub(crate) use origin::{ConfigFile, Origin};
pub(crate) use resolve::document;
pub(crate) use setting::Setting;
pub(crate) use table::TABLE;
pub(crate) use values::{GatewaySettings, LogSettings, RouterSettings, Settings};
pub(crate) use write::{json, toml};

/// Reads the file, the variables and the flags, in this order. The file is the given one, else the one that `TMWS_CONFIG`
/// names, else the one in the usual place if it exists.
pub(crate) fn read(file: Option<&Path>, flags: &ArgMatches) -> Result<Settings, Problems> {
    let mut draft = Draft::default();
    let variables = environment::read(&mut draft);
    draft.settings.file = ConfigFile::choose(file, variables.get(origin::CONFIG).map(Path::new));
    file::apply(&mut draft);
    environment::apply(&variables, &mut draft);
    flags::apply(flags, &mut draft);
    environment::fall_back(&variables, &mut draft);
    draft.finish()
}

/// Reads only a file.
pub(crate) fn read_file(file: &Path) -> Result<Settings, Problems> {
    let mut draft = Draft::default();
    draft.settings.file = ConfigFile::choose(Some(file), None);
    file::apply(&mut draft);
    draft.finish()
}
