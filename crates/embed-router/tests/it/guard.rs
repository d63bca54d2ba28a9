//! A guard behind the cache of a route: cached texts are served while the back end is down.

use std::sync::Arc;
use std::time::Duration;

use embed_core::{
    BreakerConfig, EmbedRequest, EmbedResponse, Embedder, ErrorKind, Health, ModelInfo, Result, Retry, Role,
    RowInfo, async_trait,
};
use embed_router::{BreakerState, Guard, Guarded, Route, Router};
use embed_testkit::{Scripted, VirtualTime};
use tokio::time::Instant;

use crate::support::{Letters, all_to, cache_by, documents, down, outcomes};

const KNOWN: &str = "known words";

/// Returns one text itself, as a cache would, and passes on all others.
#[derive(Debug)]
struct Knows {
    inner: Guarded<Arc<dyn Embedder>>,
    vector: Vec<f32>,
}

#[async_trait]
impl Embedder for Knows {
    fn model(&self) -> &ModelInfo {
        self.inner.model()
    }

    async fn embed(&self, request: EmbedRequest) -> Result<EmbedResponse> {
        let texts = request.texts().to_vec();
        let others = request.with_texts(texts.iter().filter(|text| &***text != KNOWN).cloned());
        let answer = if others.texts().is_empty() { None } else { Some(self.inner.embed(others).await) };
        let mut rows = EmbedResponse::builder(texts.len(), self.model().dimension());
        let mut other = 0;
        for (index, text) in texts.iter().enumerate() {
            if &**text == KNOWN {
                rows.put(index, &self.vector, RowInfo::new(self.model().clone()));
                continue;
            }
            match answer.as_ref().unwrap() {
                Ok(response) => rows.put_row(index, response.row(other)),
                Err(error) => rows.fail(index, error.clone()),
            }
            other += 1;
        }
        Ok(rows.build())
    }

    async fn health(&self) -> Health {
        self.inner.health().await
    }
}

struct Rig {
    double: Scripted,
    router: Router,
}

fn rig(failures: u32) -> Rig {
    let double = Scripted::new("e5", 8);
    let vector = double.vector(KNOWN, Role::Document);
    let route = Route::builder("e5")
        .cache(cache_by(move |inner| Knows { inner, vector: vector.clone() }))
        .backend(double.clone())
        .breaker(BreakerConfig::default().with_failures(failures))
        .build();
    Rig { double, router: Router::new([route], Arc::new(Letters), all_to("e5")).unwrap() }
}

#[tokio::test(start_paused = true)]
async fn cached_texts_are_served_while_the_back_end_is_down() {
    let Rig { double, router } = rig(2);
    double.fail_calls(Some(down()));
    for _ in 0..5 {
        let response = router.embed(documents(&[KNOWN, "new words"])).await.unwrap();
        assert_eq!(outcomes(&response), ["e5", "unavailable"]);
    }
    assert_eq!(double.calls(), 2, "an open breaker lets no call through");
    let route = &router.stats().routes[0];
    assert_eq!((route.breaker, route.openings), (BreakerState::Open, 1));
    assert_eq!((route.calls, route.failed_calls, route.refused_calls), (2, 2, 3));
    assert!(!router.health().await.is_available());
    let refused = router.embed(documents(&["new words"])).await.unwrap();
    let error = refused.row(0).unwrap_err();
    assert!(matches!(error.retry(), Retry::Temporary { after: Some(_) }), "{error:?}");

    double.fail_calls(None);
    assert_eq!(outcomes(&router.embed(documents(&[KNOWN])).await.unwrap()), ["e5"]);
    assert_eq!(router.stats().routes[0].breaker, BreakerState::Open, "a hit says nothing about the back end");
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(outcomes(&router.embed(documents(&["new words"])).await.unwrap()), ["e5"]);
    assert_eq!(router.stats().routes[0].breaker, BreakerState::Closed);
    assert!(router.health().await.is_available());
}

/// Two routes to one server: what one of them finds out applies to the other, with and without a cache.
#[tokio::test(start_paused = true)]
async fn routes_may_share_a_guard() {
    let double = Scripted::new("e5", 8);
    let guard = Guard::new(BreakerConfig::default().with_failures(1), None);
    let route = |name| Route::builder(name).backend(double.clone()).guard(guard.clone());
    let routes = [route("plain").build(), route("cached").cache(cache_by(|guarded| guarded)).build()];
    let router = Router::new(routes, Arc::new(Letters), all_to("cached")).unwrap();
    double.fail_calls(Some(down()));
    router.embed(documents(&["words"]).with_route("plain")).await.unwrap_err();
    let asked = double.calls();
    router.embed(documents(&["words"]).with_route("cached")).await.unwrap_err();
    assert_eq!((double.calls(), guard.openings()), (asked, 1));
}

/// A route with a cache also uses the breaker of the router's settings, and has only one.
#[tokio::test(start_paused = true)]
async fn a_cached_route_has_the_breaker_of_the_settings() {
    let double = Scripted::new("e5", 8);
    let route = Route::builder("e5").backend(double.clone()).cache(cache_by(|guarded| guarded)).build();
    let config = all_to("e5").with_breaker(BreakerConfig::default().with_failures(2));
    let router = Router::new([route], Arc::new(Letters), config).unwrap();
    double.fail_calls(Some(down()));
    for _ in 0..4 {
        router.embed(documents(&["words"])).await.unwrap_err();
    }
    let route = &router.stats().routes[0];
    assert_eq!((double.calls(), route.failed_calls, route.refused_calls, route.openings), (2, 2, 2, 1));
}

/// A route without a back end is absent, and reports the reason.
#[tokio::test]
async fn a_route_without_a_back_end_is_absent() {
    let routes = [Route::builder("old").build(), Route::new("e5", Scripted::new("e5", 8))];
    let router = Router::new(routes, Arc::new(Letters), all_to("e5")).unwrap();
    assert!(router.absences()[0].reason.to_string().contains("without a back end"));
}

/// A cache drops a call when no caller waits any more, which mustn't hide a back end that hangs.
#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_late_counts() {
    for (patience, expected) in [(100, false), (2000, true)] {
        let guard = Guard::new(BreakerConfig::default().with_failures(1), None);
        let guarded = Guarded::new(Hangs(Scripted::new("e5", 8)), guard.clone());
        let deadline = Instant::now() + Duration::from_millis(patience);
        let call = guarded.embed(documents(&["words"]).with_deadline(deadline.into_std()));
        assert!(tokio::time::timeout_at(deadline, call).await.is_err());
        assert_eq!(guard.is_open(), expected, "after {patience} ms");
    }
}

/// Ignores deadlines.
#[derive(Debug)]
struct Hangs(Scripted);

#[async_trait]
impl Embedder for Hangs {
    fn model(&self) -> &ModelInfo {
        self.0.model()
    }

    async fn embed(&self, _: EmbedRequest) -> Result<EmbedResponse> {
        std::future::pending().await
    }

    async fn health(&self) -> Health {
        Health::ready()
    }
}

#[tokio::test(start_paused = true)]
async fn a_success_from_before_the_outage_does_not_end_it() {
    let double = Scripted::new("e5", 8);
    let guard = Guard::new(BreakerConfig::default().with_failures(1), None);
    let guarded = Guarded::new(double.clone(), guard.clone());
    double.set_delay(Duration::from_secs(10));
    let (slow, ()) = tokio::join!(guarded.embed(documents(&["slow words"])), async {
        double.set_delay(Duration::ZERO);
        double.fail_calls(Some(down()));
        guarded.embed(documents(&["words"])).await.unwrap_err();
        assert!(guard.is_open());
        double.fail_calls(None);
    });
    slow.unwrap();
    assert!(guard.is_open(), "only a trial finds out whether the back end is healthy again");
    guarded.embed(documents(&["words"])).await.unwrap();
    assert!(!guard.is_open());
}

#[tokio::test(start_paused = true)]
async fn a_timeout_beyond_the_clock_is_no_timeout() {
    let guard = Guard::new(BreakerConfig::default().with_failures(1), Some(Duration::MAX));
    let guarded = Guarded::new(Scripted::new("e5", 8), guard);
    guarded.embed(documents(&["words"])).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_guard_has_the_timeout() {
    let double = Scripted::new("e5", 8);
    let timeout = Duration::from_millis(500);
    let guard = Guard::new(BreakerConfig::default().with_failures(1), Some(timeout));
    let guarded = Guarded::new(double.clone(), guard.clone());
    double.hold();
    let time = VirtualTime::start().await;
    assert_eq!(guarded.embed(documents(&["words"])).await.unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!((time.passed(), guard.is_open(), guard.openings()), (timeout, true, 1));

    let route = Route::builder("e5").backend(double).guard(guard).timeout(timeout).build();
    let error = Router::new([route], Arc::new(Letters), all_to("e5")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("guard"), "{error}");
}
