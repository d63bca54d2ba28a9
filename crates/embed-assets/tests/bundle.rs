//! Bundles: out of one data folder, into another, and what is refused on the way.

#![expect(clippy::unwrap_used, reason = "a test may die of what it doesn't expect")]

mod common;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use common::{Ears, Home, hub, options, profile, pull};
use embed_assets::{Asset, ImportOptions, Progress, export, import_with};
use embed_core::{Error, ErrorKind};
use embed_encoder::Precision;
use embed_encoder::assets::{
    DataHome, FileEntry, MANIFEST_FORMAT, MANIFEST_NAME, MODEL_FILE, Manifest, ModelFiles, Source,
};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

const INDEX: &str = "embed-bundle.json";
const FOLDER: &str = "models/e5-small-v2/int8";

/// The models of these tests are none, so that they aren't tried.
async fn import(home: &DataHome, path: &Path, progress: &dyn Progress) -> Result<Vec<Asset>, Error> {
    let mut options = ImportOptions::default();
    options.try_models = false;
    import_with(home, path, &options, progress).await
}

fn model() -> Asset {
    Asset::all().into_iter().find(|asset| asset.to_string() == "e5-small-v2 int8").unwrap()
}

/// A data folder with a model, and with something that passes for the library of this platform.
async fn full() -> Home {
    let (hub, home) = (hub().await, Home::new());
    pull(&home, &options(hub.endpoint())).await.unwrap();
    let folder = home.home.runtime_dir();
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("library.so"), "library").unwrap();
    let manifest = Manifest {
        format: MANIFEST_FORMAT,
        name: "onnxruntime".to_owned(),
        version: "1.32.0".to_owned(),
        source: Source::Wheel {
            package: "onnxruntime".to_owned(),
            version: "1.32.0".to_owned(),
            sha256: "0".repeat(64),
        },
        recipe: 1,
        files: vec![FileEntry::of(&folder, "library.so").unwrap()],
    };
    fs::write(folder.join(MANIFEST_NAME), serde_json::to_vec(&manifest).unwrap()).unwrap();
    home
}

async fn exported(home: &Home, assets: &[Asset]) -> PathBuf {
    let path = home.folder.path().join("bundle.zip");
    let bytes = export(&home.home, assets, &path, &Ears::default()).await.unwrap();
    assert_eq!(bytes, fs::metadata(&path).unwrap().len());
    path
}

#[tokio::test]
async fn a_bundle_carries_everything_over() {
    let (here, there) = (full().await, Home::new());
    let path = exported(&here, &[model(), Asset::Runtime, model()]).await;
    let assets = import(&there.home, &path, &Ears::default()).await.unwrap();
    assert_eq!(assets, [model(), Asset::Runtime]);
    ModelFiles::open(&there.home, profile(), Precision::Int8).unwrap();
    for asset in assets {
        let read = |home: &Home| Manifest::read(&asset.folder(&home.home)).unwrap().unwrap();
        assert_eq!(read(&here), read(&there), "the source stays the true one");
        read(&there).verify(&asset.folder(&there.home)).unwrap();
    }
    assert!(there.names("tmp").is_empty());
    // Over what is there, damaged or not.
    fs::write(there.model().join(MODEL_FILE), "damaged").unwrap();
    import(&there.home, &path, &Ears::default()).await.unwrap();
    ModelFiles::open(&there.home, profile(), Precision::Int8).unwrap();
    // The same folders make the same bytes.
    let first = fs::read(&path).unwrap();
    let again = exported(&here, &[model(), Asset::Runtime]).await;
    assert!(first == fs::read(again).unwrap());
}

#[tokio::test]
async fn what_is_not_there_or_damaged_is_not_exported() {
    let home = full().await;
    let path = home.folder.path().join("bundle.zip");
    let absent = Asset::all()[0];
    let error = export(&home.home, &[absent], &path, &Ears::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ModelNotFound);
    let error = export(&home.home, &[], &path, &Ears::default()).await.unwrap_err();
    assert!(error.to_string().contains("nothing to export"), "{error}");
    let file = home.model().join(MODEL_FILE);
    let mut bytes = fs::read(&file).unwrap();
    bytes[5] ^= 1;
    fs::write(&file, bytes).unwrap();
    let error = export(&home.home, &[model()], &path, &Ears::default()).await.unwrap_err();
    assert!(error.to_string().contains("corrupt"), "{error}");
    assert_eq!(fs::read_dir(home.folder.path()).unwrap().count(), 1, "no bundle and no half of one");
}

/// Imports into an empty data folder, which must stay empty.
async fn refused(path: &Path) -> Error {
    let there = Home::new();
    let error = import(&there.home, path, &Ears::default()).await.unwrap_err();
    assert!(!there.home.root().join("models").exists(), "{error}");
    assert!(!there.home.root().join("runtime").exists(), "{error}");
    assert!(there.names("tmp").is_empty(), "{error}");
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    error
}

#[tokio::test]
async fn damage_anywhere_is_found_before_anything_is_moved() {
    let home = full().await;
    let path = exported(&home, &[Asset::Runtime, model()]).await;
    let good = fs::read(&path).unwrap();
    for length in [0, 10, good.len() / 2, good.len() - 1] {
        fs::write(&path, &good[..length]).unwrap();
        let error = refused(&path).await;
        assert!(error.to_string().contains("copy it again"), "{error}");
    }
    for place in [good.len() / 4, good.len() / 2, good.len() * 3 / 4] {
        let mut bad = good.clone();
        bad[place] ^= 1;
        fs::write(&path, bad).unwrap();
        let error = refused(&path).await;
        assert!(error.to_string().contains("damaged"), "{error}");
    }
    fs::write(&path, "not an archive, but long enough to look for the end of one").unwrap();
    refused(&path).await;
    refused(&home.folder.path().join("nowhere.zip")).await;
}

type Entries = Vec<(String, Vec<u8>)>;

/// The bundle with its entries changed.
fn changed(path: &Path, change: impl FnOnce(&mut Entries)) -> PathBuf {
    let mut archive = ZipArchive::new(File::open(path).unwrap()).unwrap();
    let mut entries: Entries = (0..archive.len())
        .map(|i| {
            let mut entry = archive.by_index(i).unwrap();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            (entry.name().unwrap().into_owned(), bytes)
        })
        .collect();
    change(&mut entries);
    let path = path.with_extension("changed");
    let mut archive = ZipWriter::new(File::create(&path).unwrap());
    for (name, bytes) in entries {
        // A list may be compressed as far as the reader is concerned: it says how large it is.
        let method = if name == INDEX { CompressionMethod::Deflated } else { CompressionMethod::Stored };
        archive.start_file(name, SimpleFileOptions::default().compression_method(method)).unwrap();
        archive.write_all(&bytes).unwrap();
    }
    archive.finish().unwrap();
    path
}

fn entry<'a>(entries: &'a mut Entries, name: &str) -> &'a mut Vec<u8> {
    &mut entries.iter_mut().find(|(known, _)| known == name).unwrap().1
}

fn edit(entries: &mut Entries, name: &str, from: &str, to: &str) {
    let bytes = entry(entries, name);
    let text = String::from_utf8(bytes.clone()).unwrap();
    assert!(text.contains(from), "{text}");
    *bytes = text.replace(from, to).into_bytes();
}

#[tokio::test]
async fn names_that_lead_elsewhere_are_refused() {
    let home = full().await;
    let path = exported(&home, &[model()]).await;
    let manifest = format!("{FOLDER}/{MANIFEST_NAME}");
    for outside in ["../../outside", "/tmp/outside", "..", "a/b", "a\\b", "C:x", MANIFEST_NAME] {
        let escaped = outside.replace('\\', "\\\\");
        let path = changed(&path, |entries| edit(entries, &manifest, MODEL_FILE, &escaped));
        refused(&path).await;
    }
    for stranger in ["../outside", "/tmp/outside", "models/e5-small-v2/int8/extra", "extra"] {
        let path = changed(&path, |entries| entries.push((stranger.to_owned(), b"x".to_vec())));
        let error = refused(&path).await;
        assert!(error.to_string().contains("belongs to no model"), "{error}");
    }
    for folder in ["../../elsewhere", "models/unknown/int8", "models/../models/e5-small-v2/int8", ""] {
        let path = changed(&path, |entries| edit(entries, INDEX, FOLDER, folder));
        let error = refused(&path).await;
        assert!(error.to_string().contains("doesn't know"), "{error}");
    }
}

#[tokio::test]
async fn lists_that_lie_are_refused() {
    let home = full().await;
    let path = exported(&home, &[model()]).await;
    let manifest = format!("{FOLDER}/{MANIFEST_NAME}");
    let huge = changed(&path, |entries| edit(entries, &manifest, "3000000", "18446744073709551615"));
    let error = refused(&huge).await;
    assert!(error.to_string().contains("more than it can"), "{error}");
    let larger = changed(&path, |entries| edit(entries, &manifest, "3000000", "3000001"));
    refused(&larger).await;
    let list = changed(&path, |entries| *entry(entries, INDEX) = vec![b' '; 2 << 20]);
    let error = refused(&list).await;
    assert!(error.to_string().contains("too large"), "{error}");
    let other = changed(&path, |entries| edit(entries, &manifest, "\"int8\"", "\"f32\""));
    refused(&other).await;
    let future = changed(&path, |entries| edit(entries, INDEX, "\"format\": 1", "\"format\": 2"));
    let error = refused(&future).await;
    assert!(error.to_string().contains("update it"), "{error}");
    let lacking = changed(&path, |entries| entries.retain(|(name, _)| !name.ends_with(MODEL_FILE)));
    let error = refused(&lacking).await;
    assert!(error.to_string().contains("lacks a file"), "{error}");
}

#[tokio::test]
async fn a_library_for_another_platform_is_left_out() {
    let (here, there) = (full().await, Home::new());
    let path = exported(&here, &[model(), Asset::Runtime]).await;
    let text = |entries: &mut Entries| String::from_utf8(entry(entries, INDEX).clone()).unwrap();
    let path = changed(&path, |entries| {
        let mut index: serde_json::Value = serde_json::from_str(&text(entries)).unwrap();
        index["assets"][1]["platform"] = "beos-m68k".into();
        *entry(entries, INDEX) = serde_json::to_vec(&index).unwrap();
    });
    let ears = Ears::default();
    assert_eq!(import(&there.home, &path, &ears).await.unwrap(), [model()]);
    assert!(ears.heard("beos-m68k"));
    assert!(!there.home.runtime_dir().exists());
}
