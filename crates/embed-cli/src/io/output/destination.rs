//! Where an output goes: to standard output, to a device or pipe, or to a temporary file that is renamed when it is
//! complete.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Stdout, Write};
use std::path::{Path, PathBuf};

use embed_core::{Error, ErrorKind};
use tempfile::NamedTempFile;

use crate::exit::file_error;

/// The names of standard output.
const STDOUT: [&str; 4] = ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"];

/// Where an output goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Destination {
    Stdout,
    /// A device or a pipe, which gets what is written when it is written.
    Device(PathBuf),
    /// A file, which appears when it is complete.
    File(PathBuf),
}

/// An output that is being written. If it is dropped, the file is removed.
#[derive(Debug)]
pub(crate) enum OutputFile {
    Stdout(Stdout),
    Device(File),
    Beside {
        file: NamedTempFile,
        name: PathBuf,
        /// Whether an existing one may be replaced.
        replace: bool,
    },
}

impl Destination {
    /// The destination that a flag names; without one, standard output.
    pub(crate) fn of(path: Option<&Path>) -> Self {
        match path {
            None => Self::Stdout,
            Some(path) if STDOUT.iter().any(|name| path.as_os_str() == *name) => Self::Stdout,
            Some(path) => match path.metadata() {
                Ok(there) if !there.is_file() && !there.is_dir() => Self::Device(path.to_owned()),
                // A link stays; the file that it points to is written.
                Ok(_) => Self::File(path.canonicalize().unwrap_or_else(|_| path.to_owned())),
                Err(_) => Self::File(path.to_owned()),
            },
        }
    }

    pub(crate) fn is_stdout(&self) -> bool {
        *self == Self::Stdout
    }

    /// Its name in messages.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Stdout => "standard output".to_owned(),
            Self::Device(path) | Self::File(path) => path.display().to_string(),
        }
    }

    /// Fails if no output can be created here, or if there is one that may not be replaced.
    pub(crate) fn check(&self, replace: bool) -> Result<(), Error> {
        let Self::File(path) = self else { return Ok(()) };
        check_folder(path)?;
        if replace { Ok(()) } else { check_absent(path) }
    }

    /// Begins to write it.
    pub(crate) fn create(&self, replace: bool) -> Result<OutputFile, Error> {
        self.check(replace)?;
        let failed = |error| file_error("the output can't be written", self.name(), error);
        Ok(match self {
            Self::Stdout => OutputFile::Stdout(io::stdout()),
            Self::Device(path) => {
                OutputFile::Device(OpenOptions::new().write(true).open(path).map_err(failed)?)
            }
            Self::File(path) => {
                let file = temporary(path).map_err(failed)?;
                OutputFile::Beside { file, name: path.clone(), replace }
            }
        })
    }
}

impl OutputFile {
    /// Renames the file once all of it is on the disk.
    pub(crate) fn finish(self) -> io::Result<()> {
        let Self::Beside { file, name, replace } = self else { return Ok(()) };
        file.as_file().sync_all()?;
        if replace {
            // The new file gets the permissions of the one that it replaces.
            if let Ok(before) = name.metadata() {
                file.as_file().set_permissions(before.permissions())?;
            }
            file.persist(&name)?;
        } else {
            file.persist_noclobber(&name)?;
        }
        sync_folder(&name)
    }
}

impl Write for OutputFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stdout(stdout) => stdout.write(bytes),
            Self::Device(file) => file.write(bytes),
            Self::Beside { file, .. } => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout(stdout) => stdout.flush(),
            Self::Device(file) => file.flush(),
            Self::Beside { file, .. } => file.flush(),
        }
    }
}

impl Seek for OutputFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match self {
            Self::Stdout(_) => Err(io::ErrorKind::NotSeekable.into()),
            Self::Device(file) => file.seek(to),
            Self::Beside { file, .. } => file.seek(to),
        }
    }
}

/// Writes a file atomically: afterwards it has all of this, or is as it was before.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let destination = Destination::of(Some(path));
    let mut file = destination.create(true)?;
    let written = file.write_all(bytes).and_then(|()| file.finish());
    written.map_err(|error| file_error("the file can't be written", destination.name(), error))
}

/// Fails if no file can be created here.
pub(crate) fn check_folder(path: &Path) -> Result<(), Error> {
    let wrong = if path.is_dir() {
        "the output is a folder; name a file"
    } else if !folder_of(path).is_dir() {
        "the output's folder doesn't exist; make it, or choose another place"
    } else {
        return Ok(());
    };
    Err(Error::new(ErrorKind::Config, wrong).with_context("file", path.display()))
}

/// Fails if the output exists.
pub(crate) fn check_absent(path: &Path) -> Result<(), Error> {
    if !path.exists() {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Config, "the output exists; choose another, or pass --force to replace it")
        .with_context("file", path.display()))
}

/// A temporary file in the same folder; its name tells what it is if a kill leaves it there.
fn temporary(path: &Path) -> io::Result<NamedTempFile> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".");
    let mut options = tempfile::Builder::new();
    options.prefix(&name).suffix(".partial");
    // With the permissions of an ordinary new file, by the user's mask.
    #[cfg(unix)]
    options.permissions(<fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o666));
    options.tempfile_in(folder_of(path))
}

/// Makes sure that the names in the folder of a file are on the disk, if the system can open folders.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder_of(path)).and_then(|folder| folder.sync_all()) } else { Ok(()) }
}

pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(folder: &Path) -> Vec<String> {
        let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        names.map(|name| name.into_string().unwrap()).collect()
    }

    #[test]
    fn a_file_appears_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.jsonl");
        let destination = Destination::of(Some(&path));
        let mut file = destination.create(false).unwrap();
        file.write_all(b"half").unwrap();
        assert!(!path.exists());
        drop(file);
        assert!(entries(folder.path()).is_empty());

        let mut file = destination.create(false).unwrap();
        file.write_all(b"whole").unwrap();
        file.finish().unwrap();
        assert_eq!(entries(folder.path()), ["out.jsonl"]);
        assert!(destination.create(false).unwrap_err().to_string().contains("--force"));

        let mut file = destination.create(true).unwrap();
        file.write_all(b"other").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        file.finish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"other");
    }

    #[cfg(unix)]
    #[test]
    fn a_link_stays_a_link_and_permissions_stay() {
        use std::os::unix::fs::{PermissionsExt, symlink};

        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("out"), folder.path().join("link"));
        fs::write(&path, "before").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        symlink(&path, &link).unwrap();
        write_whole(&link, b"after").unwrap();
        assert!(link.is_symlink());
        assert_eq!(fs::read(&path).unwrap(), b"after");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o640);
    }

    #[test]
    fn standard_output_and_devices_have_no_name_to_give() {
        assert_eq!(Destination::of(None), Destination::Stdout);
        for name in STDOUT {
            assert_eq!(Destination::of(Some(Path::new(name))), Destination::Stdout);
        }
        #[cfg(unix)]
        assert_eq!(Destination::of(Some(Path::new("/dev/null"))), Destination::Device("/dev/null".into()));
    }
}
