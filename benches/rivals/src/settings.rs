//! The best settings that were found, remembered in a file.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// What was found, in a file of `target/bench`. It holds for these versions on this machine, and else is forgotten.
#[derive(Debug)]
pub(crate) struct Settings {
    path: PathBuf,
    file: File,
}

#[derive(Debug, Serialize, Deserialize)]
struct File {
    /// Of versions, models and machine.
    stamp: String,
    /// By workload and contender.
    found: BTreeMap<String, String>,
}

impl Settings {
    /// Reads what was found under the same stamp.
    pub(crate) fn open(path: &Path, stamp: String) -> Self {
        let read = || serde_json::from_slice::<File>(&fs::read(path).ok()?).ok();
        let file = read().filter(|file| file.stamp == stamp);
        let file = file.unwrap_or_else(|| File { stamp, found: BTreeMap::new() });
        Self { path: path.to_owned(), file }
    }

    /// What was found for a contender and such texts.
    pub(crate) fn get(&self, texts: &str, contender: &str) -> Option<&str> {
        self.file.found.get(&key(texts, contender)).map(String::as_str)
    }

    /// Remembers it.
    pub(crate) fn put(&mut self, texts: &str, contender: &str, choice: &str) -> Result<()> {
        self.file.found.insert(key(texts, contender), choice.to_owned());
        fs::write(&self.path, serde_json::to_vec_pretty(&self.file)?)
            .with_context(|| format!("can't write {}", self.path.display()))
    }
}

fn key(texts: &str, contender: &str) -> String {
    format!("{texts}: {contender}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_is_remembered_for_the_same_versions_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("settings.json");
        Settings::open(&path, "one".to_owned()).put("tuning", "OpenVINO", "16").unwrap();
        assert_eq!(Settings::open(&path, "one".to_owned()).get("tuning", "OpenVINO"), Some("16"));
        assert_eq!(Settings::open(&path, "one".to_owned()).get("passages", "OpenVINO"), None);
        assert_eq!(Settings::open(&path, "two".to_owned()).get("tuning", "OpenVINO"), None);
    }
}
