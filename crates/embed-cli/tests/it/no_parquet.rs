//! A build without the feature `parquet`: whoever names a table is told in one sentence what to do.

use std::fs;

use crate::config::Setup;

#[test]
fn without_the_feature_tables_are_refused_in_words() {
    let setup = Setup::new();
    let folder = tempfile::tempdir().unwrap();
    for ending in ["parquet", "arrow", "arrows", "PARQUET"] {
        let file = |name: &str| folder.path().join(name).with_extension(ending).display().to_string();
        let (input, output) = (file("old"), file("new"));
        fs::write(&input, "PAR1").unwrap();
        let args = ["migrate", "--from-space", "a", "--input", &input, "--output", &output];
        let error = setup.refused(&[], &args);
        for words in ["built without Parquet", "--features parquet", "migrate JSON lines"] {
            assert!(error.contains(words), "{args:?}: {error}");
        }
    }
    assert!(!setup.run(&[], &["--version"]).out.contains("parquet"));
}
