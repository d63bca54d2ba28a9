//! When a route fails, only its rows fail; fallbacks are used within its space, and in other spaces only if allowed.

use std::sync::Arc;
use std::time::Duration;

use embed_core::{BreakerConfig, Embedder, Error, ErrorKind, Health, HealthStatus, Retry, Role};
use embed_router::{BreakerState, PinBook, Route, Router, RouterConfig};
use embed_testkit::{Scripted, VirtualTime};
use tokio::time::Instant;

use crate::support::{Letters, Rig, all_to, documents, down, field, outcomes};

const TEXTS: [&str; 4] = ["plain words", "ことば", "more words", "Öl"];

fn permanent(kind: ErrorKind) -> Error {
    Error::new(kind, "no")
}

/// Every kind of failure combined with every kind of fallback.
#[tokio::test]
async fn the_matrix_of_failures() {
    let own = permanent(ErrorKind::InvalidInput);
    let too_long = permanent(ErrorKind::InputTooLong);
    let gone = down();
    let busy = permanent(ErrorKind::Overloaded).temporary();
    let used_up = permanent(ErrorKind::Unavailable).with_retry(Retry::Exhausted);
    let no_model = permanent(ErrorKind::ModelNotFound);
    for (failure, twin, cross, expected) in [
        // A twin in its space answers rows that failed because of the route, and no others.
        (&gone, true, false, "ollama-2"),
        (&busy, true, false, "ollama-2"),
        (&used_up, true, false, "ollama-2"),
        (&no_model, true, false, "ollama-2"),
        (&own, true, false, "invalid_input"),
        (&too_long, true, true, "input_too_long"),
        // Without a twin the row fails, unless it may leave its space.
        (&gone, false, false, "unavailable"),
        (&busy, false, false, "overloaded"),
        (&gone, false, true, "e5"),
        (&own, false, true, "invalid_input"),
        // The twin is called first.
        (&gone, true, true, "ollama-2"),
    ] {
        for whole_call in [false, true] {
            let routes = [("ollama", "minilm"), ("e5", "e5"), ("ollama-2", "minilm")];
            let routes = if twin { &routes[..] } else { &routes[..2] };
            let rig = Rig::new(routes, RouterConfig::default().with_cross_space(cross));
            if whole_call {
                rig.double("ollama").fail_calls(Some(failure.clone()));
            } else {
                rig.double("ollama").fail_texts_with(TEXTS[2], failure.clone());
            }
            let response = rig.router.embed(documents(&TEXTS)).await.unwrap();
            let case = format!("{failure:?}, twin {twin}, cross {cross}, whole call {whole_call}");
            let first = if whole_call { expected } else { "ollama" };
            assert_eq!(outcomes(&response), [first, "e5", expected, "e5"], "{case}");
            for (row, text) in response.rows().zip(TEXTS) {
                match row {
                    Ok(row) => {
                        let double = rig.double(row.info().route.as_deref().unwrap());
                        assert_eq!(row.vector(), double.vector(text, Role::Document), "{case}");
                        assert_eq!(row.space(), double.model().space(), "{case}");
                    }
                    Err(error) => assert_eq!(field(error, "route").as_deref(), Some("ollama"), "{case}"),
                }
            }
            let (stats, rows) = (rig.router.stats(), if whole_call { 2 } else { 1 });
            let moved = matches!(expected, "ollama-2" | "e5");
            assert_eq!(stats.failovers, if moved { rows } else { 0 }, "{case}");
            assert_eq!(stats.cross_space, if expected == "e5" { rows } else { 0 }, "{case}");
        }
    }
}

#[tokio::test]
async fn no_row_at_all_is_an_error_of_the_call() {
    let rig = Rig::hybrid(RouterConfig::default());
    for name in ["ollama", "e5"] {
        rig.double(name).fail_calls(Some(down()));
    }
    let error = rig.router.embed(documents(&TEXTS)).await.unwrap_err();
    assert_eq!((error.kind(), field(&error, "route").as_deref()), (ErrorKind::Unavailable, Some("ollama")));
    assert!(error.is_temporary());
    let rig = Rig::new(&[("a", "e5"), ("b", "e5")], all_to("a"));
    for name in ["a", "b"] {
        rig.double(name).fail_calls(Some(down()));
    }
    let error = rig.router.embed(documents(&TEXTS)).await.unwrap_err();
    assert_eq!(field(&error, "route").as_deref(), Some("a"), "the error names the chosen route");
}

/// A text means nothing to a model that doesn't support its language.
#[tokio::test]
async fn no_text_goes_to_a_model_that_does_not_read_it() {
    let rig = Rig::hybrid(RouterConfig::default().with_cross_space(true));
    rig.double("e5").fail_calls(Some(down()));
    let response = rig.router.embed(documents(&TEXTS)).await.unwrap();
    assert_eq!(outcomes(&response), ["ollama", "unavailable", "ollama", "unavailable"]);
}

/// Naming a route or pinning a collection selects its space.
#[tokio::test]
async fn forced_and_pinned_texts_never_leave_their_space() {
    let pins: PinBook = [("tenant", "ollama")].into_iter().collect();
    let routes = [("ollama", "minilm"), ("e5", "e5")];
    let rig = Rig::new(&routes, RouterConfig::default().with_cross_space(true).with_pins(pins));
    rig.double("ollama").fail_calls(Some(down()));
    for request in [documents(&TEXTS).with_route("ollama"), documents(&TEXTS).with_partition("tenant")] {
        assert_eq!(rig.router.embed(request).await.unwrap_err().kind(), ErrorKind::Unavailable);
    }
    assert_eq!(outcomes(&rig.router.embed(documents(&TEXTS)).await.unwrap()), ["e5"; 4]);
}

#[tokio::test(start_paused = true)]
async fn a_route_that_keeps_failing_is_left_out_and_comes_back() {
    let breaker = BreakerConfig::default().with_failures(3);
    let rig = Rig::hybrid(RouterConfig::default().with_breaker(breaker));
    let ollama = rig.double("ollama");
    ollama.fail_calls(Some(down()));
    for _ in 0..10 {
        assert_eq!(rig.router.embed(documents(&["words"])).await.unwrap_err().kind(), ErrorKind::Unavailable);
    }
    assert_eq!(ollama.calls(), 3, "an open breaker lets no call through");
    let stats = rig.router.stats();
    assert_eq!((stats.routes[0].breaker, stats.routes[0].openings), (BreakerState::Open, 1));
    assert_eq!((stats.routes[0].failed_calls, stats.routes[0].refused_calls), (3, 7));
    let health = rig.router.health().await;
    assert_eq!(health.status(), HealthStatus::Degraded);
    assert_eq!(field(health.reason().unwrap(), "down").as_deref(), Some("ollama"));
    let refused = rig.router.embed(documents(&["words"])).await.unwrap_err();
    assert!(matches!(refused.retry(), Retry::Temporary { after: Some(_) }), "{refused:?}");

    ollama.fail_calls(None);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(outcomes(&rig.router.embed(documents(&["words"])).await.unwrap()), ["ollama"]);
    assert_eq!(rig.router.health().await.status(), HealthStatus::Ready);
}

/// Neither invalid texts nor a busy service mean that the service is unavailable.
#[tokio::test]
async fn bad_texts_and_busy_services_open_no_breaker() {
    let breaker = BreakerConfig::default().with_failures(1);
    for error in [
        permanent(ErrorKind::InvalidInput),
        permanent(ErrorKind::Overloaded).temporary(),
        permanent(ErrorKind::RateLimited).temporary(),
    ] {
        let rig = Rig::hybrid(RouterConfig::default().with_breaker(breaker));
        rig.double("ollama").fail_calls(Some(error));
        for _ in 0..3 {
            rig.router.embed(documents(&["words"])).await.unwrap_err();
        }
        assert_eq!(rig.router.stats().routes[0].breaker, BreakerState::Closed);
    }
}

#[tokio::test]
async fn health_is_that_of_all_routes() {
    let rig = Rig::hybrid(RouterConfig::default());
    assert_eq!(rig.router.health().await.status(), HealthStatus::Ready);
    for (name, expected) in [("e5", HealthStatus::Degraded), ("ollama", HealthStatus::Unavailable)] {
        rig.double(name).set_health(Health::unavailable(down()));
        let health = rig.router.health().await;
        assert_eq!(health.status(), expected);
        assert!(field(health.reason().unwrap(), "down").unwrap().contains(name));
    }
}

/// At the deadline the rows of the other routes are returned, and those of the hanging one are errors with the reason.
#[tokio::test(start_paused = true)]
async fn a_hanging_route_costs_its_own_rows() {
    let rig = Rig::hybrid(RouterConfig::default());
    rig.double("ollama").hold();
    let time = VirtualTime::start().await;
    let deadline = time.started() + Duration::from_secs(3);
    let request = documents(&TEXTS).with_deadline(deadline.into_std());
    let response = rig.router.embed(request).await.unwrap();
    assert_eq!(outcomes(&response), ["timeout", "e5", "timeout", "e5"]);
    assert!(time.passed() < Duration::from_millis(3100), "{:?}", time.passed());
    assert_eq!(rig.double("ollama").in_flight(), 0, "the call was dropped");
}

/// A hanging route with a timeout is replaced while there is time.
#[tokio::test(start_paused = true)]
async fn a_hanging_route_is_replaced_within_the_deadline() {
    let [a, b] = [Scripted::new("e5", 8), Scripted::new("e5", 8)];
    let timeout = Duration::from_millis(500);
    let routes =
        [Route::builder("a").backend(a.clone()).timeout(timeout).build(), Route::new("b", b.clone())];
    let router = Router::new(routes, Arc::new(Letters), all_to("a")).unwrap();
    a.hold();
    let time = VirtualTime::start().await;
    let deadline = (time.started() + Duration::from_secs(3)).into_std();
    let response = router.embed(documents(&TEXTS).with_deadline(deadline)).await.unwrap();
    assert_eq!(outcomes(&response), ["b"; 4]);
    assert_eq!(time.passed(), timeout);
    // After the deadline no fallback is called.
    b.hold();
    let deadline = (Instant::now() + Duration::from_millis(800)).into_std();
    let error = router.embed(documents(&TEXTS).with_deadline(deadline)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
}

/// A caller with a short deadline doesn't open the breaker for others.
#[tokio::test(start_paused = true)]
async fn short_deadlines_open_no_breaker() {
    let breaker = BreakerConfig::default().with_failures(1);
    let rig = Rig::new(&[("e5", "e5")], all_to("e5").with_breaker(breaker));
    rig.double("e5").set_delay(Duration::from_millis(500));
    for _ in 0..5 {
        let deadline = (Instant::now() + Duration::from_millis(10)).into_std();
        let error = rig.router.embed(documents(&TEXTS).with_deadline(deadline)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
    }
    assert_eq!(outcomes(&rig.router.embed(documents(&TEXTS)).await.unwrap()), ["e5"; 4]);
    rig.double("e5").hold();
    let deadline = (Instant::now() + Duration::from_secs(2)).into_std();
    rig.router.embed(documents(&TEXTS).with_deadline(deadline)).await.unwrap_err();
    assert_eq!(rig.router.stats().routes[0].breaker, BreakerState::Open, "two seconds were enough");
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_gives_everything_back() {
    let breaker = BreakerConfig::default().with_failures(1);
    let rig = Rig::hybrid(RouterConfig::default().with_breaker(breaker));
    let (ollama, e5) = (rig.double("ollama"), rig.double("e5"));
    ollama.fail_calls(Some(down()));
    rig.router.embed(documents(&["words"])).await.unwrap_err();
    ollama.fail_calls(None);
    tokio::time::advance(Duration::from_secs(1)).await;
    // The trial of the open breaker and a call of another route are dropped in flight.
    ollama.hold();
    e5.hold();
    let router = Arc::clone(&rig.router);
    let call = tokio::spawn(async move { router.embed(documents(&TEXTS)).await.map(drop) });
    ollama.begun(2).await;
    e5.begun(1).await;
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    assert_eq!((ollama.in_flight(), e5.in_flight()), (0, 0));
    ollama.release();
    e5.release();
    assert_eq!(
        outcomes(&rig.router.embed(documents(&TEXTS)).await.unwrap()),
        ["ollama", "e5", "ollama", "e5"]
    );
}

/// A service that violates the contract doesn't shift rows.
#[tokio::test]
async fn a_wrong_number_of_rows_is_an_error() {
    #[derive(Debug)]
    struct Short(Scripted);

    #[embed_core::async_trait]
    impl Embedder for Short {
        fn model(&self) -> &embed_core::ModelInfo {
            self.0.model()
        }

        async fn embed(
            &self,
            request: embed_core::EmbedRequest,
        ) -> embed_core::Result<embed_core::EmbedResponse> {
            let fewer = request.texts()[1..].iter().cloned();
            self.0.embed(request.with_texts(fewer)).await
        }

        async fn health(&self) -> Health {
            Health::ready()
        }
    }

    let routes = [Route::new("e5", Short(Scripted::new("e5", 8)))];
    let router = Router::new(routes, Arc::new(Letters), all_to("e5")).unwrap();
    assert_eq!(router.embed(documents(&TEXTS)).await.unwrap_err().kind(), ErrorKind::Protocol);
}
