//! The data folder seen by a writer: locks, staging, and the move into place.
//!
//! ```text
//! <data folder>/
//!   locks/<asset>.lock            held while the asset is looked at or changed
//!   tmp/<asset>.<unique>/         a folder in the making, or an old one on its way out
//!   downloads/<model>/<revision>/ raw files of the hub, whole or partial
//! ```

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use embed_core::{Error, ErrorKind};
use embed_e5::assets::{DataHome, FileEntry, MANIFEST_FORMAT, MANIFEST_NAME, Manifest, Source};
use tempfile::TempDir;
use tokio::sync::oneshot;

use crate::Progress;
use crate::repacker::RECIPE;

/// The right to change one asset, among all threads and processes. Given back when the last clone is gone.
#[derive(Debug, Clone)]
pub(crate) struct Lock {
    home: DataHome,
    asset: Arc<str>,
    _file: Arc<File>,
}

impl Lock {
    /// Waits for the right, and clears away what dead holders left behind.
    pub(crate) async fn acquire(
        home: &DataHome,
        asset: &str,
        progress: &dyn Progress,
    ) -> Result<Self, Error> {
        let folder = home.root().join("locks");
        create_dirs(&folder)?;
        let path = folder.join(format!("{asset}.lock"));
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|error| failed("open", &path, error))?;
        let file = match file.try_lock() {
            Ok(()) => file,
            Err(TryLockError::WouldBlock) => {
                progress.message(&format!("Another program is fetching {asset}; waiting for it"));
                wait_for(file).await.map_err(|error| failed("lock", &path, error))?
            }
            Err(TryLockError::Error(error)) => return Err(failed("lock", &path, error)),
        };
        let lock = Self { home: home.clone(), asset: asset.into(), _file: Arc::new(file) };
        lock.sweep()?;
        Ok(lock)
    }

    /// A new empty folder on the file system of the data folder. It is removed when dropped.
    pub(crate) fn staging(&self) -> Result<TempDir, Error> {
        let tmp = self.tmp();
        create_dirs(&tmp)?;
        let prefix = self.prefix();
        let mut builder = tempfile::Builder::new();
        builder.prefix(&prefix);
        // Unless told so, a temporary folder is for its owner alone; this one becomes a place for all whom
        // the user's mask admits.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
        builder.tempdir_in(&tmp).map_err(|error| failed("create a folder in", &tmp, error))
    }

    /// Moves a finished folder to where it belongs; what lies there goes away. Blocks.
    ///
    /// Every file is on the disk before the manifest is written, and the manifest before the folder gets its
    /// name: a crash at any moment leaves the old folder, none, or the whole new one.
    pub(crate) fn install(&self, staged: TempDir, target: &Path) -> Result<(), Error> {
        sync_dir(staged.path())?;
        let parent = target.parent().unwrap_or(target);
        create_dirs(parent)?;
        // The old folder leaves under a name that the next sweep recognises, should this process die now.
        let old = self.staging()?;
        let old_folder = old.path().join("old");
        let moved = |from: &Path, to: &Path| fs::rename(from, to);
        let replaced = match moved(target, &old_folder) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(failed("replace", target, error)),
        };
        if let Err(error) = moved(staged.path(), target) {
            if replaced {
                // Better the old one than none; if that fails too, the first error says more.
                let _ = moved(&old_folder, target);
            }
            return Err(failed("move a finished folder to", target, error));
        }
        // The folder has another name now, so there is nothing left to remove.
        let _ = staged.keep();
        sync_dir(parent)
    }

    /// Removes folders of holders that died: only the holder of the lock makes folders of this name.
    fn sweep(&self) -> Result<(), Error> {
        let tmp = self.tmp();
        let entries = match fs::read_dir(&tmp) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed("read", &tmp, error)),
        };
        let prefix = OsString::from(self.prefix());
        for entry in entries.flatten() {
            if entry.file_name().as_encoded_bytes().starts_with(prefix.as_encoded_bytes()) {
                // What can't be removed now is tried again by the next holder.
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        Ok(())
    }

    fn tmp(&self) -> PathBuf {
        self.home.root().join("tmp")
    }

    fn prefix(&self) -> String {
        format!("{}.", self.asset)
    }
}

/// Waits on a thread that nobody joins: a runtime that shuts down must not wait for another program's
/// download. If the waiter is gone when the lock comes, the file is closed, which gives the lock back.
async fn wait_for(file: File) -> io::Result<File> {
    let (sender, receiver) = oneshot::channel();
    thread::Builder::new().name("asset-lock".to_owned()).spawn(move || {
        let locked = file.lock().map(|()| file);
        let _ = sender.send(locked);
    })?;
    receiver.await.unwrap_or_else(|_| Err(io::Error::other("the waiting thread died")))
}

/// Describes every file of a folder and writes its manifest, each on the disk before the next. Blocks.
pub(crate) fn seal(folder: &Path, name: &str, version: &str, source: Source) -> Result<Manifest, Error> {
    let unreadable = |error| failed("read", folder, error);
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name().into_string();
        names.push(
            name.map_err(|_| Error::new(ErrorKind::Internal, "a made file has a name that is no text"))?,
        );
    }
    names.sort_unstable();
    let mut files = Vec::with_capacity(names.len());
    for name in &names {
        let path = folder.join(name);
        sync_file(&path)?;
        files.push(FileEntry::of(folder, name).map_err(|error| failed("read", &path, error))?);
    }
    let manifest = Manifest {
        format: MANIFEST_FORMAT,
        name: name.to_owned(),
        version: version.to_owned(),
        source,
        recipe: RECIPE,
        files,
    };
    write_manifest(folder, &manifest)?;
    Ok(manifest)
}

/// Writes a manifest; the files that it lists should be on the disk already. Blocks.
pub(crate) fn write_manifest(folder: &Path, manifest: &Manifest) -> Result<(), Error> {
    let path = folder.join(MANIFEST_NAME);
    let mut text = serde_json::to_vec_pretty(manifest)
        .map_err(|error| Error::new(ErrorKind::Internal, "a manifest can't be written").with_source(error))?;
    text.push(b'\n');
    fs::write(&path, text).map_err(|error| failed("write", &path, error))?;
    sync_file(&path)
}

/// Creates a folder and those above it.
pub(crate) fn create_dirs(path: &Path) -> Result<(), Error> {
    fs::create_dir_all(path).map_err(|error| failed("create", path, error))
}

/// The error of a file that can't be worked with, with the mend where there is one.
pub(crate) fn failed(doing: &str, path: &Path, error: io::Error) -> Error {
    let mend = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "the disk is full; free some space, or set EMBED_HOME to a folder on another disk"
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "there is no permission for it; change that, or set EMBED_HOME to a folder that you may write"
        }
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            "a file is in the way; move it, or set EMBED_HOME to another folder"
        }
        _ => "the file system refuses; see the cause",
    };
    Error::new(ErrorKind::Config, format!("can't {doing} {}: {mend}", path.display())).with_source(error)
}

/// Sees to it that the bytes of a file are on the disk.
pub(crate) fn sync_file(path: &Path) -> Result<(), Error> {
    OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|file| file.sync_all())
        .map_err(|error| failed("write", path, error))
}

/// Sees to it that the names in a folder are on the disk, where the system lets a folder be opened.
fn sync_dir(path: &Path) -> Result<(), Error> {
    if cfg!(unix) {
        File::open(path).and_then(|file| file.sync_all()).map_err(|error| failed("write", path, error))
    } else {
        Ok(())
    }
}
