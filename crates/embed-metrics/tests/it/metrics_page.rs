//! The page of the docs is what the table renders to.

use std::fs;
use std::path::Path;

#[test]
fn metrics_page() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/metrics.md");
    let rendered = embed_metrics::metrics_page();
    if std::env::var_os("EMBED_BLESS").is_some() {
        fs::write(&path, &rendered).unwrap();
    }
    let page = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        page == rendered,
        "docs/metrics.md is not what the table says; run EMBED_BLESS=1 cargo test -p embed-metrics --test it metrics_page"
    );
}
