//! What every embedder must do, and what every decorator must pass on.

use std::sync::Arc;

use embed_core::Embedder;
use embed_e5::Precision;
use embed_testkit::contract::{Passthrough, check};

use crate::model;

#[tokio::test]
async fn int8_keeps_the_contract() {
    let Some(e5) = model(Precision::Int8) else { return };
    check(e5).await;
}

#[tokio::test]
async fn f32_keeps_the_contract() {
    let Some(e5) = model(Precision::F32) else { return };
    check(e5).await;
}

#[tokio::test]
async fn a_decorator_over_a_trait_object_keeps_the_contract() {
    let Some(e5) = model(Precision::Int8) else { return };
    let erased: Arc<dyn Embedder> = e5;
    check(Arc::new(Passthrough(Box::new(erased)))).await;
}
