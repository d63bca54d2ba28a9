//! What every embedder must do, against every version.

use std::sync::Arc;

use embed_core::Embedder;
use embed_testkit::contract::{Passthrough, check};
use embed_testkit::ollama::OllamaDouble;

use crate::{VERSIONS, connect, quick};

#[tokio::test]
async fn every_version_keeps_the_contract() {
    for version in VERSIONS {
        let double = OllamaDouble::start(version).await;
        check(Arc::new(connect(quick(&double)).await)).await;
    }
}

#[tokio::test]
async fn a_decorator_over_a_trait_object_keeps_the_contract() {
    let double = OllamaDouble::start("0.12.11").await;
    let erased: Arc<dyn Embedder> = Arc::new(connect(quick(&double)).await);
    check(Arc::new(Passthrough(Box::new(erased)))).await;
}
