//! A model that isn't there, and isn't fetched.

use embed::ErrorKind;
use tempfile::TempDir;

use crate::offline;

/// The filter `without_the_feature` of `cargo xtask ci --only features` runs this where `pull` is off.
#[test]
fn a_missing_model_without_the_feature_says_what_fetches_it() {
    let home = TempDir::new().unwrap();
    let load = || embed::blocking::load(offline("multilingual-e5-small").home(home.path()));
    let error = load().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ModelNotFound);
    let fixes = [
        "embed models pull multilingual-e5-small --precision int8",
        if cfg!(feature = "pull") { "Pull::Missing" } else { "the feature `pull`" },
    ];
    for fix in fixes {
        assert!(error.to_string().contains(fix), "{error}");
    }
    assert!(std::fs::read_dir(home.path()).unwrap().next().is_none(), "nothing was fetched");
}

#[test]
fn an_unknown_name_is_an_error_of_the_load() {
    let error = embed::blocking::load(embed::model("e5-huge").precision(embed::Precision::F32)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ModelNotFound);
    assert!(error.to_string().contains("all-minilm-l6-v2"), "{error}");
}
