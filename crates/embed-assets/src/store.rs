//! Writes to the data folder. A folder is made elsewhere, sealed, renamed after its content, and then pointed to.
//!
//! A version never changes once it has its name. The previous one stays, to be rolled back to; older ones are removed by
//! the next holder of the asset's lock after the last reader is gone.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use embed_core::{Error, ErrorKind};
use embed_encoder::assets::{
    DataHome, FileEntry, MANIFEST_FORMAT, MANIFEST_NAME, Manifest, POINTER_FORMAT, POINTER_NAME, Pointer,
    RECIPE, Slot, Source, version_of,
};
use tempfile::TempDir;

use crate::files::{copy_bytes, create_dirs, failed, replace_file, sync_dir, sync_file};
use crate::lock::Lock;

/// A folder that is being made. It is inside a separate data folder, so that it can be tried before it is installed.
#[derive(Debug)]
pub(crate) struct Staged {
    _scratch: TempDir,
    home: DataHome,
    folder: PathBuf,
}

impl Staged {
    /// An empty folder for the asset that has this slot in a data folder.
    pub(crate) fn new(lock: &Lock, slot: impl Fn(&DataHome) -> Slot) -> Result<Self, Error> {
        let scratch = lock.scratch()?;
        let home = DataHome::new(scratch.path());
        let folder = slot(&home).root().to_owned();
        create_dirs(&folder)?;
        Ok(Self { _scratch: scratch, home, folder })
    }

    /// Where the files go.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A data folder with only this asset.
    pub(crate) fn home(&self) -> &DataHome {
        &self.home
    }
}

/// Describes every file of a folder and writes the manifest after all of them are on the disk. Blocks.
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
    fs::write(&path, as_json(manifest)?).map_err(|error| failed("write", &path, error))?;
    sync_file(&path)
}

fn as_json(value: &impl serde::Serialize) -> Result<Vec<u8>, Error> {
    let mut text = serde_json::to_vec_pretty(value)
        .map_err(|error| Error::new(ErrorKind::Internal, "a manifest can't be written").with_source(error))?;
    text.push(b'\n');
    Ok(text)
}

/// Renames a sealed folder after its content and makes it the version in use. Blocks.
///
/// Every file is on the disk before the manifest is written, the manifest before the folder is renamed, and the folder
/// before the pointer names it. So at any moment a reader finds the complete old version or the complete new one.
pub(crate) fn install(lock: &Lock, staged: Staged, slot: &Slot) -> Result<(), Error> {
    adopt(lock, slot)?;
    let version = place(lock, staged.folder(), slot)?;
    let old = slot.pointer().ok().flatten();
    let previous = match old {
        Some(old) if old.current == version => old.previous,
        Some(old) => Some(old.current).filter(|old| is_there(slot, old)),
        None => None,
    };
    point(lock, slot, &Pointer { format: POINTER_FORMAT, current: version, previous, rolled_back: false })?;
    collect(lock, slot);
    Ok(())
}

/// Makes the previous version the one in use again, and returns its manifest. Blocks.
pub(crate) fn roll_back(lock: &Lock, slot: &Slot) -> Result<Manifest, Error> {
    let nothing = || {
        Error::new(ErrorKind::ModelNotFound, "there is no earlier version to go back to")
            .with_context("folder", slot.root().display())
    };
    let pointer = slot.pointer()?.ok_or_else(nothing)?;
    let previous = pointer.previous.ok_or_else(nothing)?;
    let sealed = slot.open_version(&previous)?.ok_or_else(nothing)?;
    sealed.verify(|_| true)?;
    let back = Pointer {
        format: POINTER_FORMAT,
        current: previous,
        previous: Some(pointer.current),
        rolled_back: true,
    };
    point(lock, slot, &back)?;
    Ok(sealed.manifest().clone())
}

/// Restores the pointer. Blocks.
pub(crate) fn restore(lock: &Lock, slot: &Slot, pointer: Option<&Pointer>) -> Result<(), Error> {
    match pointer {
        Some(pointer) => point(lock, slot, pointer),
        None => {
            let path = slot.root().join(POINTER_NAME);
            fs::remove_file(&path).map_err(|error| failed("remove", &path, error))
        }
    }
}

/// Whether [`tidy`] has anything to do.
pub(crate) fn is_untidy(slot: &Slot) -> bool {
    let Ok(pointer) = slot.pointer() else {
        return false;
    };
    let in_use = |version: &String| pointer.as_ref().is_some_and(|pointer| is_kept(pointer, version));
    slot.root().join(MANIFEST_NAME).is_file()
        || slot.versions().is_ok_and(|versions| !versions.iter().all(in_use))
}

/// Moves files of an earlier release into a version, and removes versions that are neither in use nor read. Blocks.
pub(crate) fn tidy(lock: &Lock, slot: &Slot) -> Result<(), Error> {
    adopt(lock, slot)?;
    collect(lock, slot);
    Ok(())
}

fn is_kept(pointer: &Pointer, version: &str) -> bool {
    pointer.current == version || pointer.previous.as_deref() == Some(version)
}

/// Renames a sealed folder after its content, and returns the name.
fn place(lock: &Lock, folder: &Path, slot: &Slot) -> Result<String, Error> {
    let path = folder.join(MANIFEST_NAME);
    let text = fs::read(&path).map_err(|error| failed("read", &path, error))?;
    let version = version_of(&text);
    sync_dir(folder)?;
    create_dirs(slot.root())?;
    let target = slot.version_dir(&version);
    let whole = slot
        .open_version(&version)
        .is_ok_and(|sealed| sealed.is_some_and(|sealed| sealed.verify(|_| true).is_ok()));
    if !whole {
        // A damaged folder is replaced. A reader that finds nothing in between would have found the damage.
        move_away(lock, &target)?;
        fs::rename(folder, &target).map_err(|error| failed("move a finished folder to", &target, error))?;
        sync_dir(slot.root())?;
    }
    Ok(version)
}

/// Sets the version in use atomically.
fn point(lock: &Lock, slot: &Slot, pointer: &Pointer) -> Result<(), Error> {
    let scratch = lock.scratch()?;
    replace_file(&slot.root().join(POINTER_NAME), &as_json(pointer)?, scratch.path())
}

/// Makes a version of files that are in the slot itself, where earlier releases had them. Those stay until nobody reads
/// them.
fn adopt(lock: &Lock, slot: &Slot) -> Result<(), Error> {
    if !matches!(slot.pointer(), Ok(None)) {
        return Ok(());
    }
    // Damaged files aren't worth keeping; the next version replaces them.
    let Ok(Some(sealed)) = slot.open() else {
        return Ok(());
    };
    if sealed.verify(|_| true).is_err() {
        return Ok(());
    }
    let scratch = lock.scratch()?;
    let folder = scratch.path().join("adopted");
    create_dirs(&folder)?;
    let names = sealed.manifest().files.iter().map(|file| file.name.as_str());
    for name in names.chain([MANIFEST_NAME]) {
        let (from, to) = (slot.root().join(name), folder.join(name));
        // Not every file system has links.
        if fs::hard_link(&from, &to).is_err() {
            copy_bytes(&from, &to)?;
            sync_file(&to)?;
        }
    }
    let version = place(lock, &folder, slot)?;
    point(
        lock,
        slot,
        &Pointer { format: POINTER_FORMAT, current: version, previous: None, rolled_back: false },
    )
}

/// Removes versions that are not in use, not the previous one, and not read by anybody. What can't be removed is left to
/// the next call.
fn collect(lock: &Lock, slot: &Slot) {
    let Ok(Some(pointer)) = slot.pointer() else {
        return;
    };
    for version in slot.versions().unwrap_or_default() {
        let folder = slot.version_dir(&version);
        if !is_kept(&pointer, &version) && is_unread(&folder) {
            let _ = move_away(lock, &folder);
        }
    }
    if is_unread(slot.root()) {
        remove_flat(slot.root());
    }
}

/// Whether a folder has no manifest, or nobody has it open. Readers hold a shared lock on its manifest; a reader that comes
/// later finds the pointer changed and looks again.
fn is_unread(folder: &Path) -> bool {
    match File::open(folder.join(MANIFEST_NAME)) {
        Ok(file) => file.try_lock().is_ok(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// Removes the files that a release without versions had in the slot itself.
fn remove_flat(root: &Path) {
    let Ok(Some(manifest)) = Manifest::read(root) else {
        return;
    };
    // Without a manifest, nobody takes the rest for a model.
    if fs::remove_file(root.join(MANIFEST_NAME)).is_ok() {
        for file in manifest.files {
            let _ = fs::remove_file(root.join(file.name));
        }
    }
}

/// Moves a folder away, if there is one, and removes it.
fn move_away(lock: &Lock, folder: &Path) -> Result<(), Error> {
    // Under a name that the next sweep recognises if this process dies now.
    let scratch = lock.scratch()?;
    match fs::rename(folder, scratch.path().join("old")) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed("replace", folder, error)),
    }
}

fn is_there(slot: &Slot, version: &str) -> bool {
    slot.open_version(version).is_ok_and(|sealed| sealed.is_some())
}
