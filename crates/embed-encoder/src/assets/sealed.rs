//! A folder whose files match its manifest, for as long as it is held.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::SystemTime;

use embed_core::{Error, ErrorKind};

use super::manifest::{MANIFEST_NAME, Manifest, is_absent, version_of};

/// An open asset folder. While this lives, it is not removed.
#[derive(Debug)]
pub struct SealedFolder {
    folder: PathBuf,
    manifest: Manifest,
    /// For each file of the manifest, its metadata when its bytes were verified.
    seen: Vec<OnceLock<Stamp>>,
    /// The manifest's file, with a shared lock if the file system has locks. Removing a folder takes an exclusive one.
    _lock: File,
}

/// Metadata that changes when a file does.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    bytes: u64,
    modified: Option<SystemTime>,
    identity: [i64; 4],
}

impl SealedFolder {
    /// Opens a folder; `None` if it has no manifest. A folder of a known version must have the manifest of that version.
    pub(super) fn open(folder: &Path, version: Option<&str>) -> Result<Option<Self>, Error> {
        let path = folder.join(MANIFEST_NAME);
        let broken = |what: &str| Error::new(ErrorKind::Config, what).with_context("file", path.display());
        let unreadable = |error| broken("the manifest can't be read").with_source(error);
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(unreadable(error)),
        };
        // Some network file systems have no locks. There a folder may be removed while it is read, and the reader gets
        // an error; but it is never changed.
        match file.lock_shared() {
            Err(error) if error.kind() != io::ErrorKind::Unsupported => return Err(unreadable(error)),
            _ => {}
        }
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(unreadable)?;
        let manifest = Manifest::parse(&text).map_err(|error| error.with_context("file", path.display()))?;
        if version.is_some_and(|version| version != version_of(&text)) {
            return Err(broken("the manifest was changed since its folder was made"));
        }
        let seen = manifest.files.iter().map(|_| OnceLock::new()).collect();
        Ok(Some(Self { folder: folder.to_owned(), manifest, seen, _lock: file }))
    }

    /// Where it lies.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What it holds.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Checks every byte of the files whose names `picked` accepts.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] for the first file that isn't what the manifest says.
    pub fn verify(&self, picked: impl Fn(&str) -> bool) -> Result<(), Error> {
        let files = self.manifest.files.iter().zip(&self.seen);
        for (file, seen) in files.filter(|(file, _)| picked(&file.name)) {
            // Taken before the file is read, so that a change in between shows later.
            let stamp = Stamp::of(&self.folder.join(&file.name));
            file.verify(&self.folder)?;
            if let Ok(stamp) = stamp {
                let _ = seen.set(stamp);
            }
        }
        Ok(())
    }

    /// Checks that every file is still the one that was verified. Bytes are read again only if the metadata changed.
    ///
    /// # Errors
    ///
    /// As [`verify`](Self::verify).
    pub fn verify_again(&self) -> Result<(), Error> {
        let untouched = |index: usize| {
            let (file, seen) = (&self.manifest.files[index], self.seen[index].get());
            seen.is_some() && Stamp::of(&self.folder.join(&file.name)).ok().as_ref() == seen
        };
        let touched = (0..self.seen.len()).filter(|&index| !untouched(index));
        for index in touched {
            self.manifest.files[index].verify(&self.folder)?;
        }
        Ok(())
    }
}

impl Stamp {
    fn of(path: &Path) -> io::Result<Self> {
        let data = fs::metadata(path)?;
        Ok(Self { bytes: data.len(), modified: data.modified().ok(), identity: identity(&data) })
    }
}

/// Identifies a file and its last change.
#[cfg(unix)]
fn identity(data: &Metadata) -> [i64; 4] {
    use std::os::unix::fs::MetadataExt;
    [data.dev().cast_signed(), data.ino().cast_signed(), data.ctime(), data.ctime_nsec()]
}

#[cfg(not(unix))]
fn identity(_: &Metadata) -> [i64; 4] {
    [0; 4]
}
