//! The settings of `embed-stack`, with flags of their own, which are generated from the same table.

mod flags;
#[cfg(test)]
mod page;

use std::path::Path;

use clap::ArgMatches;

pub(crate) use embed_stack::settings::{
    BackendSpec, CachePlace, ConfigFile, Document, EncoderSource, EncoderSpec, GatewaySettings, LogFormat,
    LogSettings, ModelSpec, Origin, PRESET_KEYS, Problems, RouterSettings, ServiceChoice, Setting, Settings,
    TABLE, document, ip, json, read_file, toml,
};
pub(crate) use flags::flags;

/// Reads the file, the variables and the flags, in this order. The file is the given one, else the one that `TMWS_CONFIG`
/// names, else the one in the usual place if it exists.
pub(crate) fn read(file: Option<&Path>, matches: &ArgMatches) -> Result<Settings, Problems> {
    embed_stack::settings::read(file, &flags::given(matches))
}
