//! What is missing or damaged is one clear error that names the mend.

use std::fs;
use std::path::Path;

use embed_core::{Error, ErrorKind};
use embed_e5::assets::{DataHome, MODEL_FILE, TOKENIZER_FILE};
use embed_e5::{E5Config, E5Embedder, Precision, Profile};
use tempfile::TempDir;

use crate::home;

/// A data folder with a copy of the installed model, to be damaged.
fn copy_of(home: &DataHome) -> (TempDir, DataHome) {
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
fn settings_that_make_no_sense_are_named() {
    let config = E5Config::default().with_max_waiting_calls(0);
    let error = E5Embedder::load_blocking(config).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("max_waiting_calls"), "{error}");
}
