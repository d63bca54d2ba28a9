//! The lock of an asset, among all threads and processes, and the temporary folders of its holder.
//!
//! ```text
//! <data folder>/
//!   locks/<asset>.lock            held while the asset is looked at or changed
//!   tmp/<asset>.<unique>/         a folder that is being made, or an old one that is being removed
//! ```

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use embed_core::{Error, ErrorKind};
use embed_encoder::assets::DataHome;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::Progress;
use crate::files::{create_dirs, failed};

/// How long to wait for another program by default: longer than any pull that makes progress.
pub(crate) const LOCK_WAIT: Duration = Duration::from_secs(60 * 60);

/// The lock of one asset. It is released when the last clone is dropped.
#[derive(Debug, Clone)]
pub(crate) struct Lock {
    home: DataHome,
    asset: Arc<str>,
    _file: Arc<File>,
}

impl Lock {
    /// Waits for the lock, and removes what dead holders left behind.
    pub(crate) async fn acquire(
        home: &DataHome,
        asset: &str,
        wait: Duration,
        progress: &dyn Progress,
    ) -> Result<Self, Error> {
        let (file, path) = open(home, asset)?;
        let file = match file.try_lock() {
            Ok(()) => file,
            Err(TryLockError::WouldBlock) => {
                progress.message(&format!("Another program is fetching {asset}; waiting for it"));
                match timeout(wait, wait_for(file)).await {
                    Ok(file) => file.map_err(|error| failed("lock", &path, error))?,
                    Err(_) => return Err(held_too_long(asset, wait, &path)),
                }
            }
            Err(TryLockError::Error(error)) => return Err(failed("lock", &path, error)),
        };
        Self::new(home, asset, file)
    }

    /// The lock, if it is free and the data folder is writable.
    pub(crate) fn try_acquire(home: &DataHome, asset: &str) -> Option<Self> {
        let (file, _) = open(home, asset).ok()?;
        file.try_lock().ok()?;
        Self::new(home, asset, file).ok()
    }

    fn new(home: &DataHome, asset: &str, file: File) -> Result<Self, Error> {
        let lock = Self { home: home.clone(), asset: asset.into(), _file: Arc::new(file) };
        lock.sweep()?;
        Ok(lock)
    }

    /// A new empty folder on the file system of the data folder. It is removed when dropped.
    pub(crate) fn scratch(&self) -> Result<TempDir, Error> {
        let tmp = self.tmp();
        create_dirs(&tmp)?;
        let prefix = self.prefix();
        let mut builder = tempfile::Builder::new();
        builder.prefix(&prefix);
        // By default a temporary folder is private; this one will be for everybody whom the user's umask admits.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
        builder.tempdir_in(&tmp).map_err(|error| failed("create a folder in", &tmp, error))
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

fn open(home: &DataHome, asset: &str) -> Result<(File, PathBuf), Error> {
    let folder = home.root().join("locks");
    create_dirs(&folder)?;
    let path = folder.join(format!("{asset}.lock"));
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    Ok((file.map_err(|error| failed("open", &path, error))?, path))
}

/// Waits on a thread that nobody joins, because a runtime that shuts down must not wait for another program's download. If
/// nobody waits any more when the lock is acquired, the file is closed, which releases the lock.
async fn wait_for(file: File) -> io::Result<File> {
    let (sender, receiver) = oneshot::channel();
    thread::Builder::new().name("asset-lock".to_owned()).spawn(move || {
        let locked = file.lock().map(|()| file);
        let _ = sender.send(locked);
    })?;
    receiver.await.unwrap_or_else(|_| Err(io::Error::other("the waiting thread died")))
}

fn held_too_long(asset: &str, wait: Duration, path: &Path) -> Error {
    let what = format!(
        "another program has been fetching {asset} for more than {} s; wait for it or end it, then try again",
        wait.as_secs()
    );
    Error::new(ErrorKind::Timeout, what).with_context("its lock", path.display()).temporary()
}
