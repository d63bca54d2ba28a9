//! What every [`Embedder`] must do, as functions to run against each back end, each decorator, and
//! `Arc<dyn Embedder>`.
//!
//! They panic with a message at the first breach, as an assertion does.

#![expect(clippy::unwrap_used, reason = "a check fails by panicking, as an assertion does")]

use std::sync::Arc;
use std::time::Instant;

use embed_core::{
    EmbedRequest, Embedder, EmbedderExt, ErrorKind, HealthStatus, Role, Truncation, async_trait, vector,
};
use futures::future::{FutureExt, join_all};

/// Runs every check. The service must be healthy, read English and Japanese, and refuse an empty text.
pub async fn check(service: Arc<dyn Embedder>) {
    let service = service.as_ref();
    is_healthy(service).await;
    no_texts_give_no_rows(service).await;
    rows_keep_their_order(service).await;
    rows_are_vectors_of_the_model(service).await;
    a_bad_row_fails_alone(service).await;
    neighbours_dont_matter(service).await;
    a_long_text_is_cut_only_when_asked(service).await;
    a_deadline_in_the_past_is_a_timeout(service).await;
    dropped_calls_leave_no_trace(service).await;
}

const TEXTS: [&str; 6] = [
    "database query optimization",
    "データベースのクエリを最適化する方法",
    "cooking recipes",
    "日本語とEnglishが混ざったtextです。",
    "All human beings are born free and equal in dignity and rights.",
    "料理のレシピ",
];

/// The service says that it answers.
pub async fn is_healthy(service: &dyn Embedder) {
    let health = service.health().await;
    assert_eq!(health.status(), HealthStatus::Ready, "{:?}", health.reason());
}

/// A request without texts isn't an error.
pub async fn no_texts_give_no_rows(service: &dyn Embedder) {
    let none: [&str; 0] = [];
    let response = service.embed(EmbedRequest::new(none, Role::Query)).await.unwrap();
    assert!(response.is_empty());
}

/// Row i is the vector of text i.
pub async fn rows_keep_their_order(service: &dyn Embedder) {
    let together = service.encode_batch(&TEXTS, Role::Document).await.unwrap();
    assert_eq!(together.len(), TEXTS.len());
    for (index, text) in TEXTS.iter().enumerate() {
        let alone = service.encode_document(text).await.unwrap();
        let cosine = alone.similarity(together.row(index).unwrap()).unwrap();
        assert!(cosine > 0.9999, "row {index} is not the vector of its text: cosine {cosine}");
    }
}

/// Every row has the width, the norm and the name that its model promises.
pub async fn rows_are_vectors_of_the_model(service: &dyn Embedder) {
    let response = service.encode_batch(&TEXTS, Role::Query).await.unwrap();
    for row in response.rows() {
        let row = row.unwrap();
        let model = &row.info().model;
        assert_eq!(row.vector().len(), model.dimension());
        vector::check(row.vector(), model.dimension()).unwrap();
        assert!((vector::norm(row.vector()) - 1.0).abs() < 1e-4);
        assert_eq!(model.variant().space(), model.space());
    }
}

/// An empty text is an error in its row; the other rows aren't affected.
pub async fn a_bad_row_fails_alone(service: &dyn Embedder) {
    let texts = [TEXTS[0], "", TEXTS[1], " \n\t", TEXTS[2]];
    let response = service.embed(EmbedRequest::new(texts, Role::Document)).await.unwrap();
    let failed: Vec<_> = response.errors().map(|(index, error)| (index, error.kind())).collect();
    assert_eq!(failed, [(1, ErrorKind::InvalidInput), (3, ErrorKind::InvalidInput)]);
    for index in [0, 2, 4] {
        let alone = service.encode_document(texts[index]).await.unwrap();
        let cosine = alone.similarity(response.row(index).unwrap()).unwrap();
        assert!(cosine > 0.9999, "row {index} shifted: cosine {cosine}");
    }
}

/// The same text twice in a request, and in two requests at once, is the same vector.
pub async fn neighbours_dont_matter(service: &dyn Embedder) {
    let twice = [TEXTS[0], TEXTS[4], TEXTS[0]];
    let calls = join_all((0..4).map(|_| service.encode_batch(&twice, Role::Query))).await;
    let first = service.encode_query(TEXTS[0]).await.unwrap();
    for response in calls {
        let response = response.unwrap();
        for index in [0, 2] {
            let cosine = first.similarity(response.row(index).unwrap()).unwrap();
            assert!(cosine > 0.9999, "the vector depends on its neighbours: cosine {cosine}");
        }
    }
}

/// A text longer than the model reads is an error by default, and a row that says it was cut on request.
pub async fn a_long_text_is_cut_only_when_asked(service: &dyn Embedder) {
    let Some(limit) = service.model().max_tokens() else {
        return;
    };
    let long = "freedom and dignity ".repeat(limit);
    let request = EmbedRequest::new([long.as_str(), TEXTS[0]], Role::Document);
    let refused = service.embed(request.clone()).await.unwrap();
    assert_eq!(refused.row(0).unwrap_err().kind(), ErrorKind::InputTooLong);
    assert!(refused.row(1).is_ok(), "a long text took its neighbour with it");
    for policy in [Truncation::End, Truncation::Start, Truncation::ChunkMean] {
        let response = service.embed(request.clone().with_truncation(policy)).await.unwrap();
        let info = response.row(0).unwrap().info();
        assert_eq!(info.truncated, policy != Truncation::ChunkMean, "{policy}");
        let tokens = info.tokens.expect("a service that knows its limit counts tokens");
        assert!(tokens.total > limit && tokens.used <= tokens.total);
        assert!(!response.row(1).unwrap().info().truncated);
    }
}

/// A call whose deadline has passed returns without waiting.
pub async fn a_deadline_in_the_past_is_a_timeout(service: &dyn Embedder) {
    let texts: Vec<_> = TEXTS.repeat(20);
    let request = EmbedRequest::new(texts, Role::Query).with_deadline(Instant::now());
    match service.embed(request).await {
        Err(error) => assert_eq!(error.kind(), ErrorKind::Timeout),
        // Rows that were finished in time may be there.
        Ok(response) => {
            for (_, error) in response.errors() {
                assert_eq!(error.kind(), ErrorKind::Timeout);
            }
        }
    }
}

/// Calls that are dropped, before or during their work, don't hold up the next ones.
pub async fn dropped_calls_leave_no_trace(service: &dyn Embedder) {
    for _ in 0..50 {
        let mut call = Box::pin(service.encode_batch(&TEXTS, Role::Query));
        // One poll puts the call in the queue.
        let _ = call.as_mut().now_or_never();
        drop(call);
    }
    rows_keep_their_order(service).await;
    is_healthy(service).await;
}

/// A wrapper that changes nothing, to check that the suite also passes through a decorator.
#[derive(Debug)]
pub struct Passthrough<E>(pub E);

#[async_trait]
impl<E: Embedder> Embedder for Passthrough<E> {
    fn model(&self) -> &embed_core::ModelInfo {
        self.0.model()
    }

    async fn embed(&self, request: EmbedRequest) -> embed_core::Result<embed_core::EmbedResponse> {
        self.0.embed(request).await
    }

    async fn health(&self) -> embed_core::Health {
        self.0.health().await
    }
}
