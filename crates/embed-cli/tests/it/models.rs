//! `embed models`: what is there, whether it is whole, and how it travels to a machine without a network.

use std::fs;

use embed_e5::assets::DataHome;
use embed_e5::{Precision, Profile};
use tempfile::TempDir;

use crate::{copy_of, home, path, run_in};

#[test]
fn a_bundle_carries_everything_to_an_empty_machine() {
    let Some(home) = home() else { return };
    let folder = TempDir::new().unwrap();
    let bundle = folder.path().join("bundle.zip");
    let exported = run_in(&home, &["models", "export", "multilingual-e5-small", "--output", path(&bundle)]);
    assert_eq!(exported.code, Some(0), "{}", exported.err);

    let there = DataHome::new(folder.path().join("there"));
    let imported = run_in(&there, &["models", "import", path(&bundle)]);
    assert_eq!(imported.code, Some(0), "{}", imported.err);
    let embedded = run_in(&there, &["encode", "--quiet", "料理"]);
    assert_eq!((embedded.code, embedded.err.as_str()), (Some(0), ""));
    assert_eq!(embedded.out, run_in(&home, &["encode", "--quiet", "料理"]).out, "other vectors");

    // Half a bundle is refused, and nothing of it stays.
    let bytes = fs::read(&bundle).unwrap();
    fs::write(&bundle, &bytes[..bytes.len() / 2]).unwrap();
    let nowhere = DataHome::new(folder.path().join("nowhere"));
    assert_ne!(run_in(&nowhere, &["models", "import", path(&bundle)]).code, Some(0));
    assert_eq!(run_in(&nowhere, &["encode", "料理"]).code, Some(3));
}

#[test]
fn verify_names_the_damaged_file() {
    let Some(home) = home() else { return };
    let (_folder, copy) = copy_of(&home);
    assert_eq!(run_in(&copy, &["models", "verify"]).code, Some(0));
    let weights = copy.model_dir(&Profile::all()[0], Precision::Int8).join("model.onnx_data");
    let mut bytes = fs::read(&weights).unwrap();
    bytes[1 << 20] ^= 1;
    fs::write(&weights, bytes).unwrap();
    let verified = run_in(&copy, &["models", "verify"]);
    assert_eq!(verified.code, Some(1), "{}", verified.err);
    let damaged: Vec<_> = verified.out.lines().filter(|line| !line.trim_end().ends_with("ok")).collect();
    assert!(damaged.iter().any(|line| line.contains("model.onnx_data")), "{}", verified.out);
}

#[test]
fn list_knows_what_is_there_and_what_could_be() {
    let Some(home) = home() else { return };
    let listed = run_in(&home, &["models", "list", "--format", "jsonl"]);
    assert_eq!(listed.code, Some(0), "{}", listed.err);
    let rows = listed.rows();
    let state = |name: &str, version: &str| {
        let row = rows.iter().find(|row| row["name"] == name && row["version"] == version);
        row.map(|row| row["state"].clone()).unwrap_or_default()
    };
    assert_eq!(state("multilingual-e5-small", "int8"), "present");
    for profile in Profile::all() {
        assert!(!state(profile.name, "f32").is_null(), "{}", profile.name);
    }
}
