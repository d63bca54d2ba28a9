//! Settings to a stack, without the weights of a model.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod server;
mod settings;

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

/// A file of settings in a folder of its own.
fn written(text: &str) -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("embed.toml");
    fs::write(&path, text).unwrap();
    (folder, path)
}
