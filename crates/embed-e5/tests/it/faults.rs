//! What is missing or damaged is one clear error that names the fix.

use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;

use embed_core::{Error, ErrorKind};
use embed_e5::assets::{
    DataHome, MANIFEST_NAME, MODEL_FILE, Manifest, POINTER_NAME, Slot, TOKENIZER_FILE, version_of,
};
use embed_e5::{E5Config, E5Embedder, Precision, Profile, RuntimeLibrary};
use tempfile::TempDir;

use crate::home;

/// A data folder with a copy of the installed model, to be changed.
pub(crate) fn copy_of(home: &DataHome) -> (TempDir, DataHome) {
    let folder = TempDir::new().unwrap();
    let copy = DataHome::new(folder.path());
    let profile = &Profile::all()[0];
    for (from, to) in [
        (home.runtime_dir(), copy.runtime_dir()),
        (home.model_dir(profile, Precision::Int8), copy.model_dir(profile, Precision::Int8)),
    ] {
        fs::create_dir_all(&to).unwrap();
        for entry in fs::read_dir(from).into_iter().flatten() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
    (folder, copy)
}

fn model_file(home: &DataHome, name: &str) -> std::path::PathBuf {
    home.model_dir(&Profile::all()[0], Precision::Int8).join(name)
}

fn load(home: &DataHome) -> Error {
    E5Embedder::load_blocking(E5Config::default().with_home(home.clone())).unwrap_err()
}

fn flip_a_byte(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn an_empty_data_folder_names_the_command() {
    let folder = TempDir::new().unwrap();
    let error = load(&DataHome::new(folder.path()));
    assert_eq!(error.kind(), ErrorKind::ModelNotFound);
    assert!(
        error.to_string().contains("embed models pull multilingual-e5-small --precision int8"),
        "{error}"
    );
}

#[test]
fn one_flipped_byte_is_never_loaded() {
    let Some(home) = home() else { return };
    for file in [MODEL_FILE, TOKENIZER_FILE] {
        let (_folder, copy) = copy_of(&home);
        flip_a_byte(&model_file(&copy, file));
        let error = load(&copy);
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(&format!("{file} is corrupt")), "{error}");
        assert!(error.to_string().contains("embed models pull"), "{error}");
    }
}

#[test]
fn a_file_cut_short_is_never_loaded() {
    let Some(home) = home() else { return };
    let (_folder, copy) = copy_of(&home);
    let path = model_file(&copy, TOKENIZER_FILE);
    let text = fs::read(&path).unwrap();
    fs::write(&path, &text[..text.len() / 2]).unwrap();
    let error = load(&copy);
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("tokenizer.json is not complete"), "{error}");
}

#[test]
fn a_manifest_that_points_outside_is_refused() {
    let Some(home) = home() else { return };
    let (_folder, copy) = copy_of(&home);
    let path = model_file(&copy, "manifest.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace(MODEL_FILE, "../../model.onnx")).unwrap();
    let error = load(&copy);
    assert!(error.to_string().contains("outside of its folder"), "{error}");
}

#[test]
fn a_runtime_library_with_one_flipped_byte_is_refused() {
    let Some(home) = home() else { return };
    let (_folder, copy) = copy_of(&home);
    RuntimeLibrary::find(&copy, None).unwrap().verify().unwrap();
    let folder = copy.runtime_dir();
    let library = Manifest::read(&folder).unwrap().unwrap().files.remove(0).name;
    flip_a_byte(&folder.join(library));
    let error = RuntimeLibrary::find(&copy, None).unwrap().verify().unwrap_err();
    assert!(
        error.to_string().contains("is corrupt") && error.to_string().contains("embed models pull"),
        "{error}"
    );
}

#[test]
fn whoever_named_a_library_that_is_not_there_is_named() {
    let home = DataHome::new("/nowhere");
    let error = RuntimeLibrary::find(&home, Some(Path::new("/nowhere/lib.so"))).unwrap_err();
    assert!(error.to_string().contains("EncoderConfig::runtime_library"), "{error}");
    assert!(!error.to_string().contains("ORT_DYLIB_PATH"), "{error}");
    // A mere name is the system loader's to find.
    let bare = RuntimeLibrary::find(&home, Some(Path::new("libonnxruntime.so"))).unwrap();
    assert_eq!(bare.path(), Some(Path::new("libonnxruntime.so")));
}

/// The model in a folder of its content, with the pointer in front, as `embed-assets` writes them.
fn versioned(home: &DataHome) -> (TempDir, DataHome, Slot) {
    let (folder, copy) = copy_of(home);
    let slot = copy.model_slot(&Profile::all()[0], Precision::Int8);
    let version = version_of(&fs::read(slot.root().join(MANIFEST_NAME)).unwrap());
    fs::create_dir(slot.version_dir(&version)).unwrap();
    let manifest = Manifest::read(slot.root()).unwrap().unwrap();
    for name in manifest.files.iter().map(|file| file.name.as_str()).chain([MANIFEST_NAME]) {
        fs::rename(slot.root().join(name), slot.version_dir(&version).join(name)).unwrap();
    }
    point(&slot, &version);
    (folder, copy, slot)
}

fn point(slot: &Slot, version: &str) {
    let text = format!(r#"{{"format": 1, "current": "{version}"}}"#);
    fs::write(slot.root().join(POINTER_NAME), text).unwrap();
}

#[tokio::test]
async fn a_version_that_is_in_use_is_loaded_and_its_manifest_is_sealed() {
    let Some(home) = home() else { return };
    let (_folder, copy, slot) = versioned(&home);
    let config = || E5Config::default().with_home(copy.clone()).with_threads(NonZeroUsize::MIN);
    let e5 = E5Embedder::load(config()).await.unwrap();
    assert!(slot.folder() != slot.root());
    // A reader's lock: whoever would remove the folder can't have it alone.
    let manifest = slot.folder().join(MANIFEST_NAME);
    assert!(fs::File::open(&manifest).unwrap().try_lock().is_err());
    drop(e5);
    fs::File::open(&manifest).unwrap().try_lock().unwrap();

    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replace("\"recipe\"", " \"recipe\"")).unwrap();
    assert!(load(&copy).to_string().contains("manifest was changed"));
    point(&slot, &"0".repeat(32));
    let error = load(&copy);
    assert!(
        error.to_string().contains("missing") && error.to_string().contains("embed models pull"),
        "{error}"
    );
    point(&slot, "../../elsewhere");
    assert!(load(&copy).to_string().contains("damaged"));
}

#[test]
fn settings_that_make_no_sense_are_named() {
    let config = E5Config::default;
    for (config, name) in [
        (config().with_max_waiting_calls(0), "max_waiting_calls"),
        (config().with_max_waiting_bytes(0), "max_waiting_bytes"),
        (config().with_max_windows(0), "max_windows"),
    ] {
        let error = E5Embedder::load_blocking(config).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(name), "{error}");
    }
}
