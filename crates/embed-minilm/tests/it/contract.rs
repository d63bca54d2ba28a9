//! What every embedder must do.

use embed_minilm::Precision;
use embed_testkit::contract::check;

use crate::model;

#[tokio::test]
async fn int8_keeps_the_contract() {
    let Some(model) = model(Precision::Int8) else { return };
    check(model).await;
}
