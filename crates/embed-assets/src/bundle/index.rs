//! What a bundle says of itself, and what both sides of one share.

use std::path::Path;

use embed_core::{Error, ErrorKind};
use serde::{Deserialize, Serialize};

use crate::asset::Asset;

pub(super) const INDEX_NAME: &str = "embed-bundle.json";

pub(super) const FORMAT: u32 = 1;

/// What a bundle says of itself.
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
    /// Only for the library: a model serves every platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) platform: Option<String>,
}

/// The folder in a bundle, which is the one in the data folder with slashes.
pub(super) fn folder_of(asset: Asset) -> String {
    match asset {
        Asset::Model { profile, precision } => format!("models/{}/{precision}", profile.name),
        Asset::Runtime => "runtime".to_owned(),
    }
}

pub(super) fn damaged(path: &Path, what: &str) -> Error {
    Error::new(ErrorKind::Config, format!("{} {what}; export or copy it again", path.display()))
}

/// A digest as people write it.
pub(super) fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
