//! The settings: from a file, variables and flags, each overriding the one before.
//!
//! [`TABLE`] has a row for each of them, and the readers use it, as do the flags of the command `embed` and its page of
//! documentation. A new setting is a row there and, unless a crate's configuration already has it, a field of
//! [`Settings`]. This module uses no other one of the crate.

#[cfg(feature = "gateway")]
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
mod preset;
mod read;
mod resolve;
mod setting;
mod table;
mod tables;
mod values;
mod write;

use std::path::Path;

use draft::Draft;

#[cfg(feature = "gateway")]
pub use address::ip;
#[cfg(feature = "gateway")]
pub use choices::LogFormat;
pub use choices::{CachePlace, Names, PRESET_KEYS, ServiceChoice};
pub use document::{BackendSpec, Document, EncoderSource, EncoderSpec, ModelSpec, REST};
pub use draft::Problems;
pub use flags::{Flags, sharing};
#[cfg(not(feature = "redis"))]
pub use no_redis::RedisUrl;
pub use origin::{ConfigFile, Origin};
pub use resolve::document;
pub use setting::Setting;
pub use table::TABLE;
pub use values::{CacheSettings, RouterSettings, Settings};
#[cfg(feature = "gateway")]
pub use values::{GatewaySettings, LogSettings};
pub use write::{json, toml};

/// Reads the file, the variables and the flags, in this order. The file is the given one, else the one that `TMWS_CONFIG`
/// names, else the one in the usual place if it exists.
///
/// # Errors
///
/// Everything that is wrong, with its place.
pub fn read(file: Option<&Path>, flags: &Flags) -> Result<Settings, Problems> {
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
///
/// # Errors
///
/// Everything that is wrong, with its place.
pub fn read_file(file: &Path) -> Result<Settings, Problems> {
    let mut draft = Draft::default();
    draft.settings.file = ConfigFile::choose(Some(file), None);
    file::apply(&mut draft);
    draft.finish()
}
