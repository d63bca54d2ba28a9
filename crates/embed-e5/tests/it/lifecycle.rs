//! Loading, limits and the end.

use std::num::NonZeroUsize;
use std::pin::pin;
use std::time::{Duration, Instant};

use embed_core::{EmbedRequest, Embedder, EmbedderExt, ErrorKind, Role, Truncation, vector};
use embed_e5::{E5Config, E5Embedder, Precision};

use crate::{home, model};

#[tokio::test]
async fn dropping_the_embedder_joins_its_threads() {
    let Some(home) = home() else { return };
    let config = E5Config::default().with_home(home).with_threads(NonZeroUsize::new(3).unwrap());
    let e5 = E5Embedder::load(config).await.unwrap();
    assert_eq!(e5.threads(), 3);
    e5.encode_query("a text").await.unwrap();
    // Drop joins: if a thread didn't end, this test wouldn't.
    drop(e5);
}

#[tokio::test]
async fn a_prefix_by_hand_is_embedded_and_counted() {
    let Some(e5) = model(Precision::Int8) else { return };
    let before = e5.stats().prefixed_texts;
    let by_hand = e5.encode_query("query: cooking recipes").await.unwrap();
    let plain = e5.encode_query("cooking recipes").await.unwrap();
    assert_ne!(by_hand.vector(), plain.vector());
    assert!(e5.stats().prefixed_texts > before);
}

#[tokio::test]
async fn the_role_chooses_the_vector() {
    let Some(e5) = model(Precision::Int8) else { return };
    let query = e5.encode_query("cooking recipes").await.unwrap();
    let document = e5.encode_document("cooking recipes").await.unwrap();
    assert_ne!(query.vector(), document.vector());
    assert!(query.similarity(&document).unwrap() > 0.8);
}

#[tokio::test]
async fn no_text_is_too_large_by_accident() {
    let Some(e5) = model(Precision::Int8) else { return };
    let book = "x".repeat(10 << 20);
    let error = e5.encode_query(&book).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InputTooLong);
    assert!(error.to_string().contains("10485760"), "{error}");
    let error = e5.encode_query("a\0b").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

#[test]
fn a_deadline_needs_no_runtime() {
    let Some(e5) = model(Precision::Int8) else { return };
    let request = |deadline| EmbedRequest::new(["a text"], Role::Query).with_deadline(deadline);
    let embed = |deadline| futures::executor::block_on(e5.embed(request(deadline)));
    embed(Instant::now() + Duration::from_secs(600)).unwrap().into_single().unwrap();
    assert_eq!(embed(Instant::now()).unwrap_err().kind(), ErrorKind::Timeout);
}

#[test]
fn a_query_goes_ahead_of_the_windows_of_long_texts() {
    let Some(e5) = model(Precision::Int8) else { return };
    let book = "The quick brown fox jumps over the lazy dog near the river bank. ".repeat(4000);
    let request = EmbedRequest::new([book], Role::Document).with_truncation(Truncation::ChunkMean);
    futures::executor::block_on(async {
        let (mut first, mut second) = (pin!(e5.embed(request.clone())), pin!(e5.embed(request)));
        assert!(futures::poll!(&mut first).is_pending() && futures::poll!(&mut second).is_pending());
        e5.encode_query("how high is Mount Fuji").await.unwrap();
        assert!(futures::poll!(&mut first).is_pending() && futures::poll!(&mut second).is_pending());
    });
}

#[test]
fn a_text_of_too_many_windows_is_refused_in_words() {
    let Some(home) = home() else { return };
    let config = E5Config::default().with_home(home).with_threads(NonZeroUsize::MIN).with_max_windows(2);
    let e5 = E5Embedder::load_blocking(config).unwrap();
    let request = EmbedRequest::new(["word ".repeat(2000)], Role::Document);
    let request = request.with_truncation(Truncation::ChunkMean);
    let response = futures::executor::block_on(e5.embed(request)).unwrap();
    let error = response.into_single().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InputTooLong);
    assert!(error.to_string().contains("max_windows"), "{error}");
}

#[tokio::test]
async fn every_chunk_of_a_long_text_counts() {
    let Some(e5) = model(Precision::Int8) else { return };
    let half = |sentence: &str| sentence.repeat(120);
    let text = half("A database answers queries. ") + &half("料理のレシピを探しています。");
    let embed = async |policy| {
        let request = EmbedRequest::new([text.as_str()], Role::Document).with_truncation(policy);
        e5.embed(request).await.unwrap().into_single().unwrap()
    };
    let (start, end, mean) =
        (embed(Truncation::Start).await, embed(Truncation::End).await, embed(Truncation::ChunkMean).await);
    let cosine = start.similarity(&end).unwrap();
    assert!(mean.similarity(&start).unwrap() > cosine && mean.similarity(&end).unwrap() > cosine);
    assert!((vector::norm(mean.vector()) - 1.0).abs() < 1e-5);
}
