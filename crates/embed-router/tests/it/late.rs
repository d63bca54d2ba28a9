//! A route whose service becomes available after the router was built.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use embed_core::{Coverage, Embedder, Error, ErrorKind, HealthStatus, Retry, Role};
use embed_router::{BreakerState, PinBook, Route, RouteBuilder, Router, RouterConfig};
use embed_testkit::Scripted;
use tokio::time::sleep;

use crate::support::{Letters, all_to, cache_by, documents, down, field, outcomes};

/// Longer than the longest pause between two attempts.
const PAUSE: Duration = Duration::from_secs(6);

/// A server that is unavailable until it is started.
#[derive(Clone, Default)]
struct Server {
    running: Arc<Mutex<Option<Scripted>>>,
    tries: Arc<AtomicU32>,
}

impl Server {
    fn start(&self) -> Scripted {
        let double = Scripted::new("minilm", 8);
        *self.running.lock().unwrap() = Some(double.clone());
        double
    }

    fn tries(&self) -> u32 {
        self.tries.load(Ordering::Relaxed)
    }

    fn route(&self, name: &'static str) -> RouteBuilder {
        let server = self.clone();
        let described = Scripted::new("described", 8).model().clone();
        Route::builder(name).connecting(described, down(), move || {
            server.tries.fetch_add(1, Ordering::Relaxed);
            let running = server.running.lock().unwrap().clone();
            async move { running.ok_or_else(down) }
        })
    }
}

fn hybrid(server: &Server, config: RouterConfig) -> Router {
    let routes = [server.route("ollama").build(), Route::new("e5", Scripted::new("e5", 8))];
    Router::new(routes, Arc::new(Letters), config).unwrap()
}

const TEXTS: [&str; 2] = ["plain words", "ことば"];

#[tokio::test(start_paused = true)]
async fn its_texts_are_refused_with_a_reason_until_it_connects() {
    let server = Server::default();
    let router = hybrid(&server, RouterConfig::default());
    let absence = &router.absences()[0];
    assert_eq!((&*absence.route, absence.fallback.as_deref(), absence.is_looked_for), ("ollama", None, true));
    assert_eq!(router.to_string(), "Router(ollama looked for, e5 → scripted/e5)");
    let response = router.embed(documents(&TEXTS)).await.unwrap();
    assert_eq!(outcomes(&response), ["unavailable", "e5"], "no text goes to another space");
    let error = response.row(0).unwrap_err();
    assert!(error.to_string().contains("looked for"), "{error}");
    assert!(matches!(error.retry(), Retry::Temporary { after: Some(_) }), "{error:?}");
    assert_eq!(field(error, "route").as_deref(), Some("ollama"));
    let health = router.health().await;
    assert_eq!(health.status(), HealthStatus::Degraded);
    assert_eq!(field(health.reason().unwrap(), "down").as_deref(), Some("ollama"));
    let stats = router.stats();
    assert_eq!((stats.routes[0].breaker, stats.routes[0].space.as_ref()), (BreakerState::Absent, None));

    // The health check alone finds it, without a call.
    let double = server.start();
    sleep(PAUSE).await;
    assert_eq!(router.health().await.status(), HealthStatus::Ready);
    assert_eq!(router.stats().routes[0].breaker, BreakerState::Closed);
    assert_eq!(router.to_string(), "Router(ollama → scripted/minilm, e5 → scripted/e5)");
    let response = router.embed(documents(&TEXTS)).await.unwrap();
    assert_eq!(outcomes(&response), ["ollama", "e5"]);
    assert_eq!(response.row(0).unwrap().vector(), double.vector(TEXTS[0], Role::Document));
    let tries = server.tries();
    sleep(PAUSE).await;
    router.health().await;
    assert_eq!(server.tries(), tries, "it is found once");
}

/// Calls alone find it too, without a health check.
#[tokio::test(start_paused = true)]
async fn calls_find_it() {
    let server = Server::default();
    let router = Router::new([server.route("ollama").build()], Arc::new(Letters), all_to("ollama")).unwrap();
    assert_eq!(router.model().name(), "described");
    for _ in 0..100 {
        assert_eq!(router.embed(documents(&TEXTS)).await.unwrap_err().kind(), ErrorKind::Unavailable);
    }
    assert_eq!(server.tries(), 0, "the first pause isn't over");
    for _ in 0..20 {
        sleep(Duration::from_secs(1)).await;
        router.embed(documents(&TEXTS)).await.unwrap_err();
    }
    assert!((4..=10).contains(&server.tries()), "{} tries in 20 s", server.tries());
    server.start();
    sleep(PAUSE).await;
    router.embed(documents(&TEXTS)).await.unwrap_err();
    // Let the attempt that this call began finish.
    tokio::task::yield_now().await;
    assert_eq!(outcomes(&router.embed(documents(&TEXTS)).await.unwrap()), ["ollama"; 2]);
    assert_eq!(router.model().name(), "minilm");
}

#[tokio::test(start_paused = true)]
async fn a_fallback_is_used_only_if_set_and_only_until_it_connects() {
    let server = Server::default();
    let routes = [server.route("ollama").fallback("e5").build(), Route::new("e5", Scripted::new("e5", 8))];
    let pins: PinBook = [("tenant", "ollama")].into_iter().collect();
    let router = Router::new(routes, Arc::new(Letters), RouterConfig::default().with_pins(pins)).unwrap();
    assert_eq!(outcomes(&router.embed(documents(&TEXTS)).await.unwrap()), ["e5"; 2]);
    for meant in [documents(&TEXTS).with_route("ollama"), documents(&TEXTS).with_partition("tenant")] {
        assert_eq!(router.embed(meant).await.unwrap_err().kind(), ErrorKind::Unavailable);
    }
    server.start();
    sleep(PAUSE).await;
    router.health().await;
    assert_eq!(outcomes(&router.embed(documents(&TEXTS)).await.unwrap()), ["ollama", "e5"]);
}

/// Once it has connected, it is a route like any other: for its space, in plans, behind its breaker.
#[tokio::test(start_paused = true)]
async fn it_is_a_route_like_any_other_once_connected() {
    let server = Server::default();
    let twin = Scripted::new("minilm", 8);
    let routes =
        [server.route("ollama").build(), Route::new("e5", Scripted::new("e5", 8)), Route::new("twin", twin)];
    let router = Router::new(routes, Arc::new(Letters), RouterConfig::default()).unwrap();
    let spaces = async || router.plan_document("plain words", Coverage::Reachable).await.unwrap().items.len();
    assert_eq!(spaces().await, 2, "its own place and E5");
    let double = server.start();
    sleep(PAUSE).await;
    router.health().await;
    assert_eq!(spaces().await, 2);
    double.fail_calls(Some(down()));
    for _ in 0..5 {
        assert_eq!(outcomes(&router.embed(documents(&TEXTS)).await.unwrap()), ["twin", "e5"]);
    }
    assert_eq!(router.stats().routes[0].breaker, BreakerState::Open);
}

/// A back end that connects later is behind its cache and guard too.
#[tokio::test(start_paused = true)]
async fn a_service_that_comes_late_is_behind_its_cache_and_guard() {
    let server = Server::default();
    let route = server.route("ollama").cache(cache_by(|guarded| guarded)).build();
    let router = Router::new([route], Arc::new(Letters), all_to("ollama")).unwrap();
    router.embed(documents(&["words"])).await.unwrap_err();
    let double = server.start();
    sleep(PAUSE).await;
    assert_eq!(router.health().await.status(), HealthStatus::Ready);
    double.fail_calls(Some(down()));
    for _ in 0..7 {
        router.embed(documents(&["words"])).await.unwrap_err();
    }
    let route = &router.stats().routes[0];
    assert_eq!((double.calls(), route.breaker, route.openings), (5, BreakerState::Open, 1));
}

/// After an attempt that panics there are further ones.
#[tokio::test(start_paused = true)]
async fn an_attempt_that_panics_is_not_the_last() {
    let tries = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&tries);
    let described = Scripted::new("described", 8).model().clone();
    let route = Route::builder("e5").connecting(described, down(), move || {
        let first = counted.fetch_add(1, Ordering::Relaxed) == 0;
        async move {
            assert!(!first, "the first one panics");
            Ok::<_, Error>(Scripted::new("e5", 8))
        }
    });
    let router = Router::new([route.build()], Arc::new(Letters), all_to("e5")).unwrap();
    sleep(PAUSE).await;
    assert_eq!(router.health().await.status(), HealthStatus::Unavailable);
    sleep(PAUSE).await;
    assert_eq!(router.health().await.status(), HealthStatus::Ready);
    assert_eq!(tries.load(Ordering::Relaxed), 2);
}
