//! The page at `/` in a browser.

use std::path::Path;
use std::process::Command;

use embed_testkit::ollama::OllamaDouble;

use crate::serving::{NO_ENGLISH_MODEL, Serving, has_e5};
use crate::tools::{chromium, javascript, run};

/// The script says what a person does and must see. The pictures that it takes are left in the target folder.
#[tokio::test(flavor = "multi_thread")]
async fn a_person_can_use_the_page() {
    let (Some(chromium), Some(folder), true) = (chromium(), javascript(), has_e5()) else { return };
    let ollama = OllamaDouble::start("0.9.3").await;
    // With two models there are two spaces, and cells of the heat map that must stay empty.
    let serving = Serving::start(
        &["--service", "hybrid"],
        &[("TMWS_OLLAMA_API_BASE", &ollama.url()), NO_ENGLISH_MODEL],
    );
    let screenshot = Path::new(env!("CARGO_TARGET_TMPDIR")).join("gateway-page.png");
    let mut command = Command::new("node");
    command.arg(folder.join("page.mjs")).arg(serving.url()).args([chromium, screenshot]);
    run(&mut command, "the page");
}
