//! Writing a bundle.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

use embed_core::{Error, ErrorKind};
use embed_encoder::assets::{DataHome, FileEntry, MANIFEST_NAME, SealedFolder};
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::index::{FORMAT, INDEX_NAME, Index, IndexEntry, folder_of, hex};
use crate::files::failed;
use crate::wheel::platform;
use crate::{Asset, Progress};

/// From this size on the archive needs 64-bit sizes.
const WIDE: u64 = u32::MAX as u64;

type Archive<'a> = ZipWriter<BufWriter<&'a mut File>>;

pub(super) fn write(
    home: &DataHome,
    assets: &[Asset],
    output: &Path,
    progress: &dyn Progress,
) -> Result<u64, Error> {
    let found = find(home, assets)?;
    // It is renamed when it is complete, so the temporary file has to be in the same folder.
    let parent = output.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    builder.prefix(".embed-bundle-");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut temporary: NamedTempFile =
        builder.tempfile_in(parent).map_err(|error| failed("create a file in", parent, error))?;
    let broken = |error: zip::result::ZipError| failed("write", output, io::Error::from(error));
    let mut archive = ZipWriter::new(BufWriter::with_capacity(1 << 20, temporary.as_file_mut()));
    let index = Index {
        format: FORMAT,
        assets: found
            .iter()
            .map(|(asset, _)| IndexEntry {
                folder: folder_of(*asset),
                platform: matches!(asset, Asset::Runtime).then(platform),
            })
            .collect(),
    };
    archive.start_file(INDEX_NAME, options(0)).map_err(broken)?;
    write_json(&mut archive, &index, output)?;
    for (asset, sealed) in &found {
        let manifest = sealed.manifest();
        let folder = folder_of(*asset);
        archive.start_file(format!("{folder}/{MANIFEST_NAME}"), options(0)).map_err(broken)?;
        write_json(&mut archive, manifest, output)?;
        for file in &manifest.files {
            archive.start_file(format!("{folder}/{}", file.name), options(file.bytes)).map_err(broken)?;
            copy(&mut archive, sealed.folder(), file, output, progress)?;
        }
    }
    archive.finish().map_err(broken)?.flush().map_err(|error| failed("write", output, error))?;
    temporary.as_file().sync_all().map_err(|error| failed("write", output, error))?;
    let written = temporary.persist(output).map_err(|error| failed("write", output, error.error))?;
    written.metadata().map(|data| data.len()).map_err(|error| failed("read", output, error))
}

fn find(home: &DataHome, assets: &[Asset]) -> Result<Vec<(Asset, SealedFolder)>, Error> {
    let mut found: Vec<(Asset, SealedFolder)> = Vec::with_capacity(assets.len());
    for &asset in assets {
        if found.iter().any(|(known, _)| *known == asset) {
            continue;
        }
        let sealed = asset.open(home)?.ok_or_else(|| {
            Error::new(
                ErrorKind::ModelNotFound,
                format!("{asset} is not in the data folder; get it with `embed models pull`"),
            )
        })?;
        found.push((asset, sealed));
    }
    if found.is_empty() {
        let what = "there is nothing to export; get a model with `embed models pull`";
        return Err(Error::new(ErrorKind::ModelNotFound, what));
    }
    Ok(found)
}

/// Weights don't compress, and uncompressed entries can't grow when they are unpacked.
fn options(bytes: u64) -> SimpleFileOptions {
    SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .unix_permissions(0o644)
        .large_file(bytes >= WIDE)
}

fn write_json(archive: &mut Archive<'_>, value: &impl serde::Serialize, output: &Path) -> Result<(), Error> {
    let mut text = serde_json::to_vec_pretty(value)
        .map_err(|error| Error::new(ErrorKind::Internal, "a manifest can't be written").with_source(error))?;
    text.push(b'\n');
    archive.write_all(&text).map_err(|error| failed("write", output, error))
}

fn copy(
    archive: &mut Archive<'_>,
    folder: &Path,
    file: &FileEntry,
    output: &Path,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let path = file.verify_size(folder)?;
    let source = File::open(&path).map_err(|error| failed("read", &path, error))?;
    let mut source = BufReader::new(source).take(file.bytes);
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 17];
    let mut done = 0;
    loop {
        let read = source.read(&mut buffer).map_err(|error| failed("read", &path, error))?;
        if read == 0 {
            break;
        }
        hasher.update(&buffer[..read]);
        archive.write_all(&buffer[..read]).map_err(|error| failed("write", output, error))?;
        done += read as u64;
        progress.bytes(&file.name, done, Some(file.bytes));
    }
    progress.finished(&file.name);
    if hex(&hasher.finalize()) == file.sha256 {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Config,
        format!("{} is corrupt; run `embed models pull` and export again", file.name),
    )
    .with_context("file", path.display()))
}
