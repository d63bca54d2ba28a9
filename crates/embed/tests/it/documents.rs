//! What the documents promise is what runs.

use std::fs;
use std::path::Path;

/// The lines of a program or a block of documentation, without what hides them and what surrounds them.
fn code(text: &str) -> Vec<&str> {
    let lines = text.lines().map(|line| line.trim().trim_start_matches("# ").trim());
    lines.filter(|line| !line.is_empty()).collect()
}

#[test]
fn the_first_program_of_the_documents_is_the_example_that_runs() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |file: &str| fs::read_to_string(here.join(file)).unwrap();
    let example = read("examples/first.rs");
    let body = example.split_once("use embed::EmbedderExt;").unwrap().1;
    let body: Vec<_> = code(body.split_once("Ok(())").unwrap().0);
    for (document, fence) in [("README.md", "```rust,no_run\n"), ("../../README.md", "```rust\nuse embed::")]
    {
        let text = read(document);
        let block = text.split_once(fence).unwrap().1.split_once("```").unwrap().0;
        let block = code(block);
        let steps = |lines: &[&str]| -> Vec<String> {
            let is_step = |line: &&&str| line.starts_with("let ") || line.starts_with("println!");
            lines.iter().filter(is_step).map(|&line| line.to_owned()).collect()
        };
        assert_eq!(steps(&block), steps(&body), "{document}");
        assert_eq!(steps(&body).len(), 5);
    }
}
