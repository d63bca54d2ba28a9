//! The vector of a text depends on nothing but the text: equal to the bit alone, together, shuffled, and
//! from many tasks at once.

use std::collections::HashMap;
use std::sync::Arc;

use embed_core::{EmbedRequest, EmbedResponse, Embedder, Role, Truncation};
use embed_e5::{E5Embedder, Precision};
use embed_testkit::data::mixed_texts;

use crate::model;

async fn embed(e5: &E5Embedder, texts: &[String]) -> EmbedResponse {
    let request =
        EmbedRequest::new(texts.iter().map(String::as_str), Role::Document).with_truncation(Truncation::End);
    e5.embed(request).await.unwrap().into_complete().unwrap()
}

fn bits(vector: &[f32]) -> Vec<u32> {
    vector.iter().map(|value| value.to_bits()).collect()
}

async fn is_independent(precision: Precision) {
    let Some(e5) = model(precision) else { return };
    let mut texts = mixed_texts(200);

    let mut alone = HashMap::new();
    for text in &texts {
        let response = embed(&e5, std::slice::from_ref(text)).await;
        alone.insert(text.clone(), bits(response.row(0).unwrap().vector()));
    }
    assert_eq!(alone.len(), 200, "the texts are distinct");
    let check = |texts: &[String], response: &EmbedResponse, how: &str| {
        for (text, row) in texts.iter().zip(response.rows()) {
            assert!(bits(row.unwrap().vector()) == alone[text], "a vector differs {how}");
        }
    };

    check(&texts, &embed(&e5, &texts).await, "in one request");

    // A fixed shuffle: multiplying by a number prime to 200 visits every place once.
    texts = (0..200).map(|place| texts[place * 77 % 200].clone()).collect();
    check(&texts, &embed(&e5, &texts).await, "in shuffled order");

    let texts = Arc::new(texts);
    let tasks: Vec<_> = (0..16)
        .map(|task| {
            let (e5, texts) = (Arc::clone(&e5), Arc::clone(&texts));
            tokio::spawn(async move {
                let mine: Vec<_> = texts.iter().skip(task % 4).step_by(4).cloned().collect();
                let response = embed(&e5, &mine).await;
                (mine, response)
            })
        })
        .collect();
    for task in tasks {
        let (mine, response) = task.await.unwrap();
        check(&mine, &response, "from 16 tasks at once");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn int8_vectors_are_independent_of_their_neighbours() {
    is_independent(Precision::Int8).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f32_vectors_are_independent_of_their_neighbours() {
    is_independent(Precision::F32).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mixed_vectors_are_independent_of_their_neighbours() {
    is_independent(Precision::Mixed).await;
}

#[cfg(feature = "openvino")]
#[tokio::test(flavor = "multi_thread")]
async fn bf16_vectors_are_independent_of_their_neighbours() {
    is_independent(Precision::Bf16).await;
}
