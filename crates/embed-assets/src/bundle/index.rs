//! The index of a bundle, and what reading and writing share.

use std::path::Path;

use embed_core::{Error, ErrorKind};
use serde::{Deserialize, Serialize};

use crate::asset::Asset;

pub(super) const INDEX_NAME: &str = "embed-bundle.json";

pub(super) const FORMAT: u32 = 1;

/// The index of a bundle.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Index {
    pub(super) format: u32,
    pub(super) assets: Vec<IndexEntry>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct IndexEntry {
    pub(super) folder: String,
    /// Set only for the library, since a model works on every platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) platform: Option<String>,
}

/// The folder in a bundle: its path in the data folder, with slashes.
pub(super) fn folder_of(asset: Asset) -> String {
    match asset {
        Asset::Model { profile, precision } => format!("models/{}/{precision}", profile.name),
        Asset::Runtime => "runtime".to_owned(),
    }
}

pub(super) fn damaged(path: &Path, what: &str) -> Error {
    Error::new(ErrorKind::Config, format!("{} {what}; export or copy it again", path.display()))
}

/// A digest in hexadecimal.
pub(super) fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
