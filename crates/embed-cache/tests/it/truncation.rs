//! A text that isn't cut has one row, whatever its request allows; one that is cut has a row for each truncation.

use std::sync::Arc;
use std::time::Duration;

use embed_cache::Cached;
use embed_core::{
    EmbedRequest, EmbedResponse, Embedder, ErrorKind, ModelInfo, Role, Space, Truncation, Variant,
};
use embed_testkit::Scripted;

use crate::double::{MapTier, cache, sources};

const SHORT: &str = "two words";
const LONG: &str = "a text of more than four words";
const CUTS: [Truncation; 3] = [Truncation::End, Truncation::Start, Truncation::ChunkMean];

/// A service that reads four words.
fn service() -> Scripted {
    let variant = Variant::new(Space::builder("model", 8).build(), [("digest", "1")]);
    Scripted::of_model(ModelInfo::builder("scripted", "model", variant).max_tokens(4).build())
}

async fn ask(cached: &Cached<Scripted>, text: &str, truncation: Truncation) -> EmbedResponse {
    cached.embed(EmbedRequest::new([text], Role::Document).with_truncation(truncation)).await.unwrap()
}

fn vector(response: &EmbedResponse) -> Vec<f32> {
    response.row(0).unwrap().vector().to_vec()
}

#[tokio::test(start_paused = true)]
async fn a_text_that_fits_is_computed_once() {
    for tier in [MapTier::local("memory"), MapTier::remote("remote")] {
        for first in Truncation::ALL {
            let service = service();
            let cached = Cached::new(service.clone(), cache(&[&tier]));
            cached.clear_cache().await.unwrap();
            let computed = vector(&ask(&cached, SHORT, first).await);
            cached.cache().flush(Duration::from_secs(1)).await.unwrap();
            for then in Truncation::ALL {
                let again = ask(&cached, SHORT, then).await;
                assert_eq!(vector(&again), computed);
                assert_ne!(sources(&again), [""], "{first} and then {then}");
            }
            assert_eq!((service.calls(), tier.len()), (1, 1), "{first}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_text_that_is_cut_has_a_row_for_each_truncation() {
    for tier in [MapTier::local("memory"), MapTier::remote("remote")] {
        let service = service();
        let cached = Cached::new(service.clone(), cache(&[&tier]));
        let mut vectors = Vec::new();
        for cut in CUTS {
            vectors.push(vector(&ask(&cached, LONG, cut).await));
            cached.cache().flush(Duration::from_secs(1)).await.unwrap();
        }
        assert!(vectors[0] != vectors[1] && vectors[1] != vectors[2] && vectors[0] != vectors[2]);
        assert_eq!((service.calls(), tier.len()), (3, 3));
        for (cut, expected) in CUTS.into_iter().zip(&vectors) {
            let again = ask(&cached, LONG, cut).await;
            assert_eq!(&vector(&again), expected, "{cut}");
        }
        assert_eq!(service.calls(), 3, "each truncation has a row");
        // A caller that allows no cut still gets no vector, and nothing is stored.
        let refused = cached.embed(EmbedRequest::new([LONG], Role::Document)).await.unwrap();
        assert_eq!(refused.row(0).unwrap_err().kind(), ErrorKind::InputTooLong);
        assert_eq!(tier.len(), 3);
        cached.invalidate(&[LONG]).await.unwrap();
        assert_eq!(tier.len(), 0, "all rows are removed");
    }
}

/// One call serves all concurrent callers if the text fits; otherwise there is one for each truncation.
#[tokio::test(start_paused = true)]
async fn callers_at_once_share_what_they_can() {
    for (text, calls) in [(SHORT, 1), (LONG, 4)] {
        for first in 0..4 {
            let service = service();
            let cached = Arc::new(Cached::new(service.clone(), cache(&[&MapTier::remote("remote")])));
            service.hold();
            let mut tasks = Vec::new();
            for step in 0..4 {
                let truncation = Truncation::ALL[(first + step) % 4];
                let cached = Arc::clone(&cached);
                tasks.push((truncation, tokio::spawn(async move { ask(&cached, text, truncation).await })));
                // Polled once, so that they come in this order.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            service.release();
            for (truncation, task) in tasks {
                let response = task.await.unwrap();
                let alone = Cached::new(self::service(), cache(&[]));
                let expected = ask(&alone, text, truncation).await;
                match (response.row(0), expected.row(0)) {
                    (Ok(row), Ok(expected)) => assert_eq!(row.vector(), expected.vector(), "{truncation}"),
                    (Err(error), Err(_)) => assert_eq!(error.kind(), ErrorKind::InputTooLong, "{truncation}"),
                    (row, expected) => panic!("{truncation}: {row:?} and not {expected:?}"),
                }
            }
            assert_eq!(service.calls(), calls, "{text}, {first}");
        }
    }
}
