//! What a `Metered` records, and that it changes nothing.

use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use embed_core::{
    EmbedRequest, EmbedResponse, Embedder, EmbedderExt, Error, ErrorKind, Health, ModelInfo, Result, Role,
    Truncation, async_trait,
};
use embed_metrics::{Metered, Metrics};
use embed_testkit::{Scripted, contract};

use crate::{E5, OLLAMA, Page, e5, metrics, model, ollama};

/// Looks like a router over two cached services: texts with a kana go to E5, and texts that say so come from a tier.
#[derive(Debug)]
struct Stack {
    ollama: Scripted,
    e5: Scripted,
}

#[async_trait]
impl Embedder for Stack {
    fn model(&self) -> &ModelInfo {
        self.ollama.model()
    }

    async fn embed(&self, request: EmbedRequest) -> Result<EmbedResponse> {
        let mut response = EmbedResponse::builder(request.texts().len(), 16);
        for (index, text) in request.texts().iter().enumerate() {
            let service = if text.contains('の') { &self.e5 } else { &self.ollama };
            let answer = service.embed(request.with_texts([Arc::clone(text)])).await?;
            match answer.row(0) {
                Ok(row) => {
                    let mut info = row.info().clone();
                    info.tier = text.contains("cached").then(|| "memory".into());
                    response.put(index, row.vector(), info);
                }
                Err(error) => response.fail(index, error.clone()),
            }
        }
        Ok(response.build())
    }

    async fn health(&self) -> Health {
        Health::ready()
    }
}

#[tokio::test]
async fn the_contract_holds_through_it() {
    let metrics = metrics();
    contract::check(Arc::new(Metered::new(e5(), &metrics))).await;
    contract::check(Arc::new(Metered::backend(Arc::new(e5()) as Arc<dyn Embedder>, &metrics))).await;
    let page = Page::of(&metrics);
    assert_eq!(page.get("embedding_in_flight", ""), 0.0);
    assert_eq!(page.get("backend_in_flight", E5), 0.0);
}

#[tokio::test]
async fn a_call_is_recorded_once_with_all_that_is_in_it() {
    let metrics = metrics();
    let service = Metered::new(e5(), &metrics);
    let long = "word ".repeat(40);
    let request =
        EmbedRequest::new(["two words", "", &long], Role::Document).with_truncation(Truncation::End);
    service.embed(request).await.unwrap();

    let page = Page::of(&metrics);
    assert_eq!(page.get("embedding_requests_total", E5), 1.0);
    assert_eq!(page.get("embedding_rows_total", E5), 2.0);
    assert_eq!(page.get("embedding_tokens_total", E5), 34.0);
    assert_eq!(page.get("embedding_truncations_total", E5), 1.0);
    assert_eq!(page.get("embedding_errors_total", r#"kind="invalid_input""#), 1.0);
    assert_eq!(page.get("embedding_batch_texts_sum", ""), 3.0);
    assert_eq!(page.get("embedding_batch_texts_bucket", r#"le="2""#), 0.0);
    assert_eq!(page.get("embedding_batch_texts_bucket", r#"le="4""#), 1.0);
    assert_eq!(page.get("embedding_latency_seconds_count", E5), 1.0);
    assert!(page.get("embedding_latency_seconds_sum", E5) > 0.0);
    assert!(!page.not_zero().iter().any(|series| series.starts_with("tmws_backend")));
}

#[tokio::test]
async fn each_model_of_a_mixed_call_has_its_own_rows() {
    let metrics = metrics();
    let service = Metered::new(Stack { ollama: ollama(), e5: e5() }, &metrics);
    let texts = ["english", "日本の", "cached english", "cached の", "more english"];
    service.embed(EmbedRequest::new(texts, Role::Query)).await.unwrap();

    let page = Page::of(&metrics);
    for (model, rows, tokens) in [(OLLAMA, 3.0, 5.0), (E5, 2.0, 3.0)] {
        assert_eq!(page.get("embedding_requests_total", model), 1.0);
        assert_eq!(page.get("embedding_latency_seconds_count", model), 1.0);
        assert_eq!(page.get("embedding_rows_total", model), rows);
        assert_eq!(page.get("embedding_tokens_total", model), tokens);
    }
    assert_eq!(page.get("embedding_cache_hits_total", r#"service="ollama""#), 1.0);
    assert_eq!(page.get("embedding_cache_hits_total", r#"service="e5""#), 1.0);
    assert_eq!(page.get("embedding_batch_texts_count", ""), 1.0);
}

#[tokio::test]
async fn two_variants_of_a_model_are_one_call_of_it() {
    let metrics = metrics();
    let cut = model("e5", "multilingual-e5-small").with_dimension(8);
    let service = Metered::new(Stack { ollama: Scripted::of_model(cut), e5: e5() }, &metrics);
    service.embed(EmbedRequest::new(["english", "日本の"], Role::Query)).await.unwrap();
    let page = Page::of(&metrics);
    assert_eq!(page.get("embedding_requests_total", E5), 1.0);
    assert_eq!(page.get("embedding_rows_total", E5), 2.0);
}

#[tokio::test]
async fn a_back_end_has_separate_metrics() {
    let metrics = metrics();
    let inner = e5();
    let service = Metered::new(Metered::backend(inner.clone(), &metrics), &metrics);
    service.encode_batch(&["one", "two words"], Role::Query).await.unwrap();
    inner.fail_calls(Some(Error::new(ErrorKind::Unavailable, "gone")));
    service.encode_batch(&["one", "two", "three"], Role::Query).await.unwrap_err();

    let page = Page::of(&metrics);
    for view in ["embedding", "backend"] {
        assert_eq!(page.get(&format!("{view}_requests_total"), E5), 2.0);
        assert_eq!(page.get(&format!("{view}_latency_seconds_count"), E5), 2.0);
        assert_eq!(page.get(&format!("{view}_rows_total"), E5), 2.0);
        assert_eq!(page.get(&format!("{view}_tokens_total"), E5), 3.0);
    }
    assert_eq!(page.get("embedding_errors_total", r#"kind="unavailable""#), 3.0);
    assert_eq!(page.get("backend_errors_total", &format!(r#"{E5},kind="unavailable""#)), 3.0);
    assert_eq!(page.get("backend_batch_texts_count", E5), 2.0);
}

#[tokio::test]
async fn a_dropped_call_is_cancelled_and_leaves_nothing_in_flight() {
    let metrics = metrics();
    let inner = e5();
    inner.hold();
    let service = Metered::new(Metered::backend(inner.clone(), &metrics), &metrics);
    let mut calls: Vec<_> =
        (0..3).map(|_| Box::pin(service.encode_batch(&["one", "two"], Role::Query))).collect();
    let mut context = Context::from_waker(Waker::noop());
    for call in &mut calls {
        assert!(matches!(call.as_mut().poll(&mut context), Poll::Pending));
    }
    let page = Page::of(&metrics);
    assert_eq!(page.get("embedding_in_flight", ""), 3.0);
    assert_eq!(page.get("backend_in_flight", E5), 3.0);
    assert_eq!(page.get("embedding_requests_total", E5), 0.0, "no call has ended");

    calls.truncate(1);
    inner.release();
    calls.remove(0).await.unwrap();

    let page = Page::of(&metrics);
    assert_eq!(page.get("embedding_in_flight", ""), 0.0);
    assert_eq!(page.get("backend_in_flight", E5), 0.0);
    assert_eq!(page.get("embedding_requests_total", E5), 3.0);
    assert_eq!(page.get("embedding_latency_seconds_count", E5), 1.0, "a cancelled call has no latency");
    assert_eq!(page.get("embedding_errors_total", r#"kind="cancelled""#), 4.0);
    assert_eq!(page.get("backend_errors_total", &format!(r#"{E5},kind="cancelled""#)), 4.0);
    assert_eq!(page.get("embedding_rows_total", E5), 2.0);
}

#[tokio::test]
async fn a_call_that_panics_leaves_nothing_in_flight() {
    #[derive(Debug)]
    struct Broken(Scripted);

    #[async_trait]
    impl Embedder for Broken {
        fn model(&self) -> &ModelInfo {
            self.0.model()
        }

        async fn embed(&self, _: EmbedRequest) -> Result<EmbedResponse> {
            panic!("as a test has it");
        }

        async fn health(&self) -> Health {
            Health::ready()
        }
    }

    let metrics = metrics();
    let service = Metered::new(Broken(e5()), &metrics);
    tokio::spawn(async move { service.encode_query("text").await }).await.unwrap_err();
    let page = Page::of(&metrics);
    assert_eq!(page.get("embedding_in_flight", ""), 0.0);
    assert_eq!(page.get("embedding_errors_total", r#"kind="cancelled""#), 1.0);
}

#[tokio::test]
async fn the_last_reported_health_is_shown() {
    let metrics = metrics();
    let inner = e5();
    let service = Metered::new(Metered::backend(inner.clone(), &metrics), &metrics);
    let is = |metrics: &Metrics| {
        let page = Page::of(metrics);
        ["ready", "degraded", "unavailable"]
            .map(|status| page.get("backend_health", &format!(r#"{E5},status="{status}""#)))
    };
    assert!(!metrics.render().contains("tmws_backend_health{"), "health wasn't checked yet");
    assert!(service.health().await.is_available());
    assert_eq!(is(&metrics), [1.0, 0.0, 0.0]);
    inner.set_health(Health::unavailable(Error::new(ErrorKind::Unavailable, "gone")));
    assert!(!service.health().await.is_available());
    assert_eq!(is(&metrics), [0.0, 0.0, 1.0]);
}

/// Texts that failed because a back end's space had changed are counted once, so the alert on them works.
#[tokio::test]
async fn texts_that_failed_for_their_space_are_counted() {
    let metrics = metrics();
    let inner = e5();
    inner.fail_texts_with("moved", Error::new(ErrorKind::SpaceMismatch, "the server is another one"));
    let service = Metered::new(Metered::backend(inner, &metrics), &metrics);
    service.embed(EmbedRequest::new(["moved", "moved too", "a text"], Role::Query)).await.unwrap();
    assert_eq!(Page::of(&metrics).get("space_mismatches_total", ""), 2.0);
}

#[tokio::test]
async fn it_prints_the_stack_and_gives_it_back() {
    let service = Metered::backend(e5(), &metrics());
    assert_eq!(service.to_string(), "Metered(multilingual-e5-small)");
    assert_eq!(service.model(), &model("e5", "multilingual-e5-small"));
    assert_eq!(service.inner().calls(), 0);
    service.into_inner().encode_query("text").await.unwrap();
}

#[test]
fn model_loads_have_their_time() {
    let metrics = metrics();
    metrics.model_loaded(&model("e5", "multilingual-e5-small"), Duration::from_millis(1500));
    assert_eq!(Page::of(&metrics).get("model_load_seconds", E5), 1.5);
}
