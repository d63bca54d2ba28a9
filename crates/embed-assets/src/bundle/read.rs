//! Reads a bundle. It may come from anybody.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};

use embed_core::{Error, ErrorKind};
use embed_encoder::assets::{
    DataHome, FileEntry, MANIFEST_NAME, Manifest, ModelFiles, PROFILE_FILE, ProfileFile,
};
use sha2::{Digest, Sha256};
use zip::{CompressionMethod, ZipArchive};

use super::index::{FORMAT, INDEX_NAME, Index, damaged, folder_of, hex};
use super::install::Unpacked;
use crate::files::{failed, sync_file};
use crate::lock::Lock;
use crate::store::{Staged, write_manifest};
use crate::wheel::platform;
use crate::{Asset, Progress};

/// The largest index or manifest that is accepted.
const TEXT_LIMIT: u64 = 1 << 20;

/// More entries than a bundle of everything has.
const MOST_ENTRIES: usize = 1000;

#[derive(Debug)]
pub(super) struct Bundle {
    path: PathBuf,
    bytes: u64,
    archive: ZipArchive<BufReader<File>>,
    index: Index,
}

impl Bundle {
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let file = File::open(path).map_err(|error| failed("read", path, error))?;
        let bytes = file.metadata().map_err(|error| failed("read", path, error))?.len();
        let mut archive = ZipArchive::new(BufReader::with_capacity(1 << 17, file))
            .map_err(|error| damaged(path, "is no bundle or is cut short").with_source(error))?;
        if archive.len() > MOST_ENTRIES {
            return Err(damaged(path, "holds more files than any bundle"));
        }
        let text = read_text(&mut archive, path, INDEX_NAME)?;
        let index: Index = serde_json::from_slice(&text)
            .map_err(|error| damaged(path, "is no bundle of this program").with_source(error))?;
        if index.format != FORMAT {
            let what = "is a bundle of another version of this program; update it";
            return Err(Error::new(ErrorKind::Config, format!("{} {what}", path.display())));
        }
        Ok(Self { path: path.to_owned(), bytes, archive, index })
    }

    /// The assets of it that this machine can use.
    pub(super) fn assets(&mut self, progress: &dyn Progress) -> Result<Vec<Asset>, Error> {
        let known = Asset::all();
        let here = platform();
        let mut assets = Vec::new();
        let entries: Vec<_> =
            self.index.assets.iter().map(|e| (e.folder.clone(), e.platform.clone())).collect();
        for (folder, platform) in entries {
            let asset = match known.iter().copied().find(|asset| folder_of(*asset) == folder) {
                Some(asset) => asset,
                None => self.custom(&folder)?.ok_or_else(|| {
                    self.refuse("holds a model that this version doesn't know")
                        .with_context("folder", folder.escape_debug())
                })?,
            };
            match platform {
                Some(other) if other != here => {
                    progress.message(&format!(
                        "Leaving out {asset}, which is for {} and not for {here}",
                        other.escape_debug()
                    ));
                }
                _ if assets.contains(&asset) => return Err(self.refuse("names a folder twice")),
                _ => assets.push(asset),
            }
        }
        if assets.is_empty() {
            return Err(self.refuse("holds nothing for this machine"));
        }
        Ok(assets)
    }

    /// A model that isn't built in, as its profile in the bundle says; `None` if the folder is no model's or has no profile.
    fn custom(&mut self, folder: &str) -> Result<Option<Asset>, Error> {
        let Some((name, precision)) = folder.strip_prefix("models/").and_then(|path| path.split_once('/'))
        else {
            return Ok(None);
        };
        let Ok(precision) = precision.parse() else { return Ok(None) };
        let entry = format!("{folder}/{PROFILE_FILE}");
        if !DataHome::is_model_name(name) || self.archive.index_for_name(&entry).is_none() {
            return Ok(None);
        }
        let text = read_text(&mut self.archive, &self.path, &entry)?;
        let profile = ProfileFile::parse(&text)
            .and_then(|file| file.profile())
            .map_err(|error| error.with_context("bundle", self.path.display()))?;
        Ok((profile.name == name).then_some(Asset::Model { profile, precision }))
    }

    /// Unpacks everything and checks everything. Blocks.
    pub(super) fn unpack_all(
        mut self,
        assets: &[Asset],
        locks: &[(&'static str, Lock)],
        progress: &dyn Progress,
    ) -> Result<Vec<Unpacked>, Error> {
        self.refuse_strangers()?;
        let mut unpacked = Vec::with_capacity(assets.len());
        let mut budget = self.bytes;
        for &asset in assets {
            let lock =
                locks.iter().find(|(name, _)| *name == asset.lock_name()).map(|(_, lock)| lock.clone());
            let lock = lock.ok_or_else(|| Error::new(ErrorKind::Internal, "an import misses a lock"))?;
            let staged = Staged::new(&lock, |home| asset.slot(home))?;
            let recipe = self.unpack(asset, staged.folder(), &mut budget, progress)?;
            if let Asset::Model { profile, precision } = asset {
                ModelFiles::find(staged.home(), profile, precision)?;
            }
            unpacked.push(Unpacked { asset, lock, staged, recipe });
        }
        Ok(unpacked)
    }

    /// Refuses a bundle with entries that belong to no listed folder. Files are extracted by name, so such an entry would do
    /// no harm, but it shows that the bundle wasn't made by this program.
    fn refuse_strangers(&mut self) -> Result<(), Error> {
        let mut expected = HashSet::from([INDEX_NAME.to_owned()]);
        let folders: Vec<_> = self.index.assets.iter().map(|entry| entry.folder.clone()).collect();
        for folder in folders {
            let manifest = self.manifest(&folder)?;
            expected.insert(format!("{folder}/{MANIFEST_NAME}"));
            for file in manifest.files {
                if file.name == MANIFEST_NAME || !expected.insert(format!("{folder}/{}", file.name)) {
                    return Err(self.refuse("names a file twice").with_context("name", file.name));
                }
            }
        }
        let stranger = self.archive.file_names_raw().find_map(|name| {
            let name = String::from_utf8_lossy(name);
            (!expected.contains(name.as_ref())).then(|| name.escape_debug().to_string())
        });
        match stranger {
            Some(name) => {
                Err(self.refuse("holds a file that belongs to no model").with_context("name", name))
            }
            None if self.archive.len() != expected.len() => Err(self.refuse("lacks a file that it lists")),
            None => Ok(()),
        }
    }

    /// The manifest of a folder in the archive, checked like one on the disk.
    fn manifest(&mut self, folder: &str) -> Result<Manifest, Error> {
        let text = read_text(&mut self.archive, &self.path, &format!("{folder}/{MANIFEST_NAME}"))?;
        Manifest::parse(&text).map_err(|error| error.with_context("bundle", self.path.display()))
    }

    fn unpack(
        &mut self,
        asset: Asset,
        folder: &Path,
        budget: &mut u64,
        progress: &dyn Progress,
    ) -> Result<u32, Error> {
        let manifest = self.manifest(&folder_of(asset))?;
        asset.check(&manifest)?;
        progress.message(&format!("Unpacking {asset}"));
        for file in &manifest.files {
            // Entries aren't compressed, so together they are no larger than the bundle.
            *budget = budget.checked_sub(file.bytes).ok_or_else(|| {
                self.refuse("claims to hold more than it can").with_context("name", &file.name)
            })?;
            let target = folder.join(&file.name);
            self.unpack_file(&format!("{}/{}", folder_of(asset), file.name), file, &target, progress)?;
            sync_file(&target)?;
        }
        write_manifest(folder, &manifest)?;
        Ok(manifest.recipe)
    }

    fn unpack_file(
        &mut self,
        entry: &str,
        file: &FileEntry,
        target: &Path,
        progress: &dyn Progress,
    ) -> Result<(), Error> {
        let path = &self.path;
        let broken = |what: &str| damaged(path, what).with_context("name", &file.name);
        let source = self
            .archive
            .by_name(entry)
            .map_err(|error| broken("lacks a file that it lists").with_source(error))?;
        if source.compression() != CompressionMethod::Stored || source.size() != file.bytes {
            return Err(broken("holds a file of another size than it lists"));
        }
        let mut source = source.take(file.bytes);
        let mut out = File::create_new(target).map_err(|error| failed("create", target, error))?;
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; 1 << 17];
        let mut done = 0;
        loop {
            let read = source.read(&mut buffer).map_err(|error| broken("is damaged").with_source(error))?;
            if read == 0 {
                break;
            }
            hasher.update(&buffer[..read]);
            out.write_all(&buffer[..read]).map_err(|error| failed("write", target, error))?;
            done += read as u64;
            progress.bytes(&file.name, done, Some(file.bytes));
        }
        progress.finished(&file.name);
        if done != file.bytes || hex(&hasher.finalize()) != file.sha256 {
            return Err(broken("is damaged"));
        }
        Ok(())
    }

    fn refuse(&self, what: &str) -> Error {
        damaged(&self.path, what)
    }
}

fn read_text(archive: &mut ZipArchive<BufReader<File>>, path: &Path, name: &str) -> Result<Vec<u8>, Error> {
    let broken = |what: &str| damaged(path, what).with_context("name", name.escape_debug());
    let mut entry = archive.by_name(name).map_err(|error| {
        broken("is no bundle of this program, or lacks a file that it lists").with_source(error)
    })?;
    if entry.size() > TEXT_LIMIT {
        return Err(broken("holds a list that is too large"));
    }
    let mut text = Vec::new();
    let read = entry.by_ref().take(TEXT_LIMIT).read_to_end(&mut text);
    read.map_err(|error| broken("is damaged").with_source(error))?;
    Ok(text)
}
