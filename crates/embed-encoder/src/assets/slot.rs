//! The versions of an asset, each in a folder named after its content, and a pointer to the one in use.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use embed_core::{Error, ErrorKind};
use serde::{Deserialize, Serialize};

use super::SealedFolder;
use super::manifest::{is_absent, is_version};

/// The file name of the pointer.
pub const POINTER_NAME: &str = "current.json";

/// The version of the pointer's format that this crate reads and writes.
pub const POINTER_FORMAT: u32 = 1;

/// How often a reader tries again when the pointer changes meanwhile. Each change is a whole pull.
const LOOKS: usize = 100;

/// The versions of one asset in the data folder.
///
/// ```text
/// <slot>/current.json            names the version in use and the one before it; replaced in one step
/// <slot>/<version>/manifest.json, …
/// ```
///
/// A version never changes once it has its name, so that its readers can keep using it. In data folders of earlier
/// releases the files are in the slot itself; they are used there until the next pull moves them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    root: PathBuf,
}

/// Which version of an asset is in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pointer {
    /// [`POINTER_FORMAT`].
    pub format: u32,
    /// The version in use.
    pub current: String,
    /// The version that was in use before, if it is still there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
    /// Whether this version was rolled back to, so that a pull leaves it alone unless it is forced.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rolled_back: bool,
}

impl Slot {
    /// A slot at a path, which need not exist.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The folder of the slot itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The version in use; `None` if there is nothing, or only files of a release without versions.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if the pointer can't be read or is damaged.
    pub fn pointer(&self) -> Result<Option<Pointer>, Error> {
        let path = self.root.join(POINTER_NAME);
        let broken = |what: &str| Error::new(ErrorKind::Config, what).with_context("file", path.display());
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => {
                return Err(broken("the file that names the version in use can't be read").with_source(error));
            }
        };
        let pointer: Pointer = serde_json::from_slice(&text).map_err(|error| {
            broken("the file that names the version in use is damaged").with_source(error)
        })?;
        if pointer.format != POINTER_FORMAT {
            return Err(broken("the data folder is of another version of this program"));
        }
        if ![Some(&pointer.current), pointer.previous.as_ref()]
            .into_iter()
            .flatten()
            .all(|name| is_version(name))
        {
            return Err(broken("the file that names the version in use is damaged"));
        }
        Ok(Some(pointer))
    }

    /// Whether the version in use was rolled back to.
    ///
    /// # Errors
    ///
    /// As [`pointer`](Self::pointer).
    pub fn is_rolled_back(&self) -> Result<bool, Error> {
        Ok(self.pointer()?.is_some_and(|pointer| pointer.rolled_back))
    }

    /// The folder of a version.
    #[must_use]
    pub fn version_dir(&self, version: &str) -> PathBuf {
        self.root.join(version)
    }

    /// The folder of the version in use. If there is none, the slot itself, where earlier releases had the files.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        match self.pointer() {
            Ok(Some(pointer)) => self.version_dir(&pointer.current),
            _ => self.root.clone(),
        }
    }

    /// All versions, in use or not.
    ///
    /// # Errors
    ///
    /// If the folder can't be read. A missing one is no error.
    pub fn versions(&self) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(error) if is_absent(&error) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        Ok(names.filter(|name| is_version(name)).collect())
    }

    /// Opens a version, in use or not; `None` if it isn't there.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if its manifest is damaged.
    pub fn open_version(&self, version: &str) -> Result<Option<SealedFolder>, Error> {
        SealedFolder::open(&self.version_dir(version), Some(version))
    }

    /// Opens the version in use; `None` if there is none. It doesn't change while it is held.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if pointer or manifest is damaged, or the version that the pointer names isn't there.
    pub fn open(&self) -> Result<Option<SealedFolder>, Error> {
        let mut pointer = self.pointer()?;
        for _ in 0..LOOKS {
            let version = pointer.as_ref().map(|pointer| pointer.current.as_str());
            let folder = version.map_or_else(|| self.root.clone(), |version| self.version_dir(version));
            let opened = SealedFolder::open(&folder, version);
            // What was read or locked counts only if it is still the version in use; otherwise it may be about to be removed.
            let now = self.pointer()?;
            if now == pointer {
                return match opened {
                    Ok(None) if version.is_some() => Err(Error::new(
                        ErrorKind::Config,
                        "the version in use is missing from the data folder",
                    )
                    .with_context("folder", folder.display())),
                    opened => opened,
                };
            }
            pointer = now;
        }
        Err(Error::new(ErrorKind::Unavailable, "the files change faster than they can be read; try again")
            .with_context("folder", self.root.display())
            .temporary())
    }
}
