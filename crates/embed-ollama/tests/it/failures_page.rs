//! The page of the docs is what the table renders to.

use std::fs;
use std::path::Path;

#[test]
fn failures_page() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/ollama-failures.md");
    let rendered = embed_ollama::failures_page();
    if std::env::var_os("EMBED_BLESS").is_some() {
        fs::write(&path, &rendered).unwrap();
    }
    let page = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        page == rendered,
        "docs/ollama-failures.md is not what the table says; run EMBED_BLESS=1 cargo test -p embed-ollama --test it failures_page"
    );
}
