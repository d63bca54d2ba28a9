//! The Debian packages that the texts come from: fetched and unpacked without root, nothing is installed.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use flate2::read::GzDecoder;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::manpages::{Piece, pieces};

const PACKAGES: [&str; 3] = ["manpages", "manpages-dev", "manpages-ja"];

/// Where texts come from, as the manifest lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Source {
    /// The file, with the version in its name.
    pub(crate) file: String,
    /// Its SHA-256.
    pub(crate) sha256: String,
}

/// The pages of the packages, page by page in the order of their paths.
pub(super) struct Pages {
    pub(super) sources: Vec<Source>,
    pub(super) english: Vec<Vec<Piece>>,
    pub(super) japanese: Vec<Vec<Piece>>,
}

impl Pages {
    /// Reads the packages in `cache`. One that isn't there is downloaded, if `fetch` allows it; whatever version is
    /// there stays.
    pub(super) fn open(cache: &Path, fetch: bool) -> Result<Self> {
        if fetch {
            fs::create_dir_all(cache.join("unpacked"))?;
        }
        let mut sources = Vec::new();
        for package in PACKAGES {
            let archive = match archive(cache, package)? {
                Some(archive) => archive,
                None if fetch => download(cache, package)?,
                None => bail!("{package} was not fetched yet"),
            };
            let unpacked = cache.join("unpacked").join(package);
            if fetch && !unpacked.is_dir() {
                run(Command::new("dpkg-deb").arg("-x").arg(&archive).arg(&unpacked))?;
            }
            sources.push(Source {
                file: archive.file_name().unwrap_or_default().to_string_lossy().into_owned(),
                sha256: hex(&Sha256::digest(fs::read(&archive)?)),
            });
        }
        let mut files = BTreeSet::new();
        for package in ["manpages", "manpages-dev"] {
            list(&cache.join("unpacked").join(package).join("usr/share/man"), &mut files)?;
        }
        let mut japanese = BTreeSet::new();
        list(&cache.join("unpacked/manpages-ja/usr/share/man/ja"), &mut japanese)?;
        let read = |files: BTreeSet<PathBuf>| files.iter().map(|file| read(file)).collect::<Result<Vec<_>>>();
        Ok(Self { sources, english: read(files)?, japanese: read(japanese)? })
    }
}

fn archive(cache: &Path, package: &str) -> Result<Option<PathBuf>> {
    let prefix = format!("{package}_");
    for entry in fs::read_dir(cache).with_context(|| format!("can't list {}", cache.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with(&prefix) && name.ends_with(".deb") {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

fn download(cache: &Path, package: &str) -> Result<PathBuf> {
    run(Command::new("apt-get").args(["download", package]).current_dir(cache))?;
    archive(cache, package)?.with_context(|| format!("apt-get left no archive of {package}"))
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("can't start {:?}", command.get_program()))?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{:?} failed: {}", command.get_program(), said.trim());
    Ok(())
}

/// Every file below, links left out: a page has one name.
fn list(folder: &Path, files: &mut BTreeSet<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("can't list {}", folder.display()))? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            list(&entry.path(), files)?;
        } else if kind.is_file() {
            files.insert(entry.path());
        }
    }
    Ok(())
}

fn read(file: &Path) -> Result<Vec<Piece>> {
    let mut bytes = Vec::new();
    GzDecoder::new(File::open(file)?).read_to_end(&mut bytes)?;
    Ok(pieces(&String::from_utf8_lossy(&bytes)))
}

/// Hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
