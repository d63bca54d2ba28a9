//! `embed models`: what is there, whether it is whole, and how it travels to a machine without a network.

use std::fs;

use embed_encoder::assets::{DataHome, Manifest};
use embed_encoder::{Precision, Profile};
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

/// A copy that nobody made a version of yet, then an import over it, then the way back and forth.
#[test]
fn an_import_can_be_rolled_back() {
    let Some(home) = home() else { return };
    let (folder, copy) = copy_of(&home);
    let bundle = folder.path().join("bundle.zip");
    let path_of_bundle = path(&bundle);
    assert_eq!(run_in(&copy, &["models", "export", "--quiet", "--output", path_of_bundle]).code, Some(0));
    // The same model, made by an older recipe, as an update finds it.
    let model = copy.model_dir(&Profile::all()[0], Precision::Int8);
    let mut manifest = Manifest::read(&model).unwrap().unwrap();
    manifest.recipe = 1;
    fs::write(model.join("manifest.json"), serde_json::to_vec(&manifest).unwrap()).unwrap();
    let vector = run_in(&copy, &["encode", "--quiet", "料理"]);
    assert_eq!(vector.code, Some(0), "{}", vector.err);
    let nothing = run_in(&copy, &["models", "rollback"]);
    assert_eq!(nothing.code, Some(3), "{}", nothing.err);
    assert!(nothing.err.contains("no earlier version"), "{}", nothing.err);

    let imported = run_in(&copy, &["models", "import", path_of_bundle]);
    assert_eq!(imported.code, Some(0), "{}", imported.err);
    let state = || {
        let listed = run_in(&copy, &["models", "list", "--format", "jsonl"]).rows();
        let row = listed
            .into_iter()
            .find(|row| row["name"] == "multilingual-e5-small" && row["version"] == "int8")
            .unwrap();
        (row["folder"].as_str().unwrap().to_owned(), row["previous"].is_string(), row["rolled_back"] == true)
    };
    let (new, previous, rolled_back) = state();
    assert!(previous && !rolled_back && new != path(&model));
    let back = run_in(&copy, &["models", "rollback"]);
    assert_eq!(back.code, Some(0), "{}", back.err);
    assert!(back.err.contains("recipe 1"), "{}", back.err);
    let (old, previous, rolled_back) = state();
    assert!(previous && rolled_back && old != new);
    assert_eq!(run_in(&copy, &["encode", "--quiet", "料理"]).out, vector.out);
    assert_eq!(run_in(&copy, &["models", "rollback", "--quiet"]).code, Some(0));
    assert_eq!(state().0, new);
}

#[test]
fn what_nobody_measured_is_listed_so() {
    let folder = TempDir::new().unwrap();
    let empty = DataHome::new(folder.path());
    let rows = run_in(&empty, &["models", "list", "--format", "jsonl"]).rows();
    for row in rows.iter().filter(|row| row["version"] == "int8") {
        let measured = ["multilingual-e5-small", "all-minilm-l6-v2"].iter().any(|name| row["name"] == **name);
        assert_eq!(row["calibrated"], measured, "{row}");
    }
    let table = run_in(&empty, &["models", "list"]).out;
    let line = table.lines().find(|line| line.contains("e5-base-v2") && line.contains("int8")).unwrap();
    assert!(line.contains("not calibrated"), "{line}");
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
