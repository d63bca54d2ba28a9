//! Whole vectors against the reference rows.

use embed_core::{EmbedRequest, Embedder, Role, Truncation, vector};
use embed_e5::Precision;
use embed_testkit::data::e5_small_reference;

use crate::model;

/// The smallest and the mean cosine to the reference vectors.
async fn cosines(precision: Precision) -> Option<(f32, f32)> {
    let e5 = model(precision)?;
    let mut cosines = Vec::new();
    for row in e5_small_reference() {
        let role: Role = row.role.parse().unwrap();
        let request = EmbedRequest::new([row.text.as_str()], role).with_truncation(Truncation::End);
        let embedding = e5.embed(request).await.unwrap().into_single().unwrap();
        // Of two rows the text ends in white space, for which the reference has a token and the training hasn't.
        let space = usize::from(row.text.trim_end() != row.text);
        assert_eq!(embedding.info().tokens.unwrap().used, row.tokens - space);
        if space == 1 {
            continue;
        }
        cosines.push(vector::cosine(embedding.vector(), &row.embedding).unwrap());
    }
    assert_eq!(cosines.len(), 46);
    let smallest = cosines.iter().copied().fold(1.0, f32::min);
    let mean = cosines.iter().sum::<f32>() / cosines.len() as f32;
    Some((smallest, mean))
}

#[tokio::test]
async fn f32_equals_the_reference() {
    let Some((smallest, _)) = cosines(Precision::F32).await else {
        return;
    };
    assert!(smallest >= 0.9999, "smallest cosine {smallest}");
}

#[tokio::test]
async fn mixed_equals_the_reference() {
    let Some((smallest, _)) = cosines(Precision::Mixed).await else {
        return;
    };
    assert!(smallest >= 0.9999, "smallest cosine {smallest}");
}

#[cfg(feature = "openvino")]
#[tokio::test]
async fn bf16_equals_the_reference() {
    let Some((smallest, _)) = cosines(Precision::Bf16).await else {
        return;
    };
    assert!(smallest >= 0.9999, "smallest cosine {smallest}");
}

#[tokio::test]
async fn int8_is_close_to_the_reference() {
    let Some((smallest, mean)) = cosines(Precision::Int8).await else {
        return;
    };
    assert!(smallest >= 0.999 && mean >= 0.9995, "smallest cosine {smallest}, mean {mean}");
}
