//! Durable files and folders, and errors that name the fix.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use embed_core::{Error, ErrorKind};
use tempfile::NamedTempFile;

/// Creates a folder and those above it.
pub(crate) fn create_dirs(path: &Path) -> Result<(), Error> {
    fs::create_dir_all(path).map_err(|error| failed("create", path, error))
}

/// The error of a file operation, with a fix where there is one.
pub(crate) fn failed(doing: &str, path: &Path, error: io::Error) -> Error {
    let fix = match error.kind() {
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
    Error::new(ErrorKind::Config, format!("can't {doing} {}: {fix}", path.display())).with_source(error)
}

/// Copies the bytes of a file and not its mode: the user's umask decides about the copy, not the mode of a file in
/// another program's cache.
pub(crate) fn copy_bytes(from: &Path, to: &Path) -> Result<(), Error> {
    let mut source = File::open(from).map_err(|error| failed("read", from, error))?;
    let mut target = File::create(to).map_err(|error| failed("create", to, error))?;
    io::copy(&mut source, &mut target).map(drop).map_err(|error| failed("write", to, error))
}

/// Flushes the bytes of a file to the disk, through a handle for reading or for writing, whichever the system allows.
pub(crate) fn sync_file(path: &Path) -> Result<(), Error> {
    let sync = |file: File| file.sync_all();
    File::open(path)
        .and_then(sync)
        .or_else(|_| OpenOptions::new().write(true).open(path).and_then(sync))
        .map_err(|error| failed("write", path, error))
}

/// Flushes the entries of a folder to the disk, where the system lets a folder be opened.
pub(crate) fn sync_dir(path: &Path) -> Result<(), Error> {
    if cfg!(unix) {
        File::open(path).and_then(|file| file.sync_all()).map_err(|error| failed("write", path, error))
    } else {
        Ok(())
    }
}

/// Replaces a file atomically. `scratch` is a folder on the same file system.
pub(crate) fn replace_file(path: &Path, bytes: &[u8], scratch: &Path) -> Result<(), Error> {
    let unwritten = |error| failed("write", path, error);
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file: NamedTempFile = builder.tempfile_in(scratch).map_err(unwritten)?;
    file.write_all(bytes).and_then(|()| file.as_file().sync_all()).map_err(unwritten)?;
    file.persist(path).map_err(|error| unwritten(error.error))?;
    path.parent().map_or(Ok(()), sync_dir)
}
