//! Recovery without a caller: health checks make the trials.

use std::sync::Arc;
use std::time::Duration;

use embed_core::{Embedder, Health, HealthStatus, Role};
use embed_router::{BreakerState, Route, Router, RouterConfig};
use embed_testkit::{Scripted, VirtualTime};
use tokio::time::{advance, sleep};

use crate::support::{Letters, Rig, all_to, cache_by, documents, down};

/// The interval of a gateway's health checks.
const CHECK: Duration = Duration::from_secs(2);

/// One with the guard around the whole route, and one with the guard behind a cache.
fn routers(double: &Scripted) -> [Router; 2] {
    let behind = Route::builder("e5").backend(double.clone()).cache(cache_by(|guarded| guarded)).build();
    let routes = [Route::new("e5", double.clone()), behind];
    routes.map(|route| Router::new([route], Arc::new(Letters), all_to("e5")).unwrap())
}

async fn break_it(router: &Router) {
    for _ in 0..5 {
        router.embed(documents(&["words"])).await.unwrap_err();
    }
    assert_eq!(router.stats().routes[0].breaker, BreakerState::Open);
}

#[tokio::test(start_paused = true)]
async fn a_back_end_that_is_back_is_ready_without_a_call() {
    let double = Scripted::new("e5", 8);
    for router in routers(&double) {
        double.fail_calls(Some(down()));
        break_it(&router).await;
        // While it fails, there are few trials, and it isn't ready.
        let calls = double.calls();
        for _ in 0..60 {
            assert_eq!(router.health().await.status(), HealthStatus::Unavailable);
            sleep(CHECK).await;
        }
        let trials = double.calls() - calls;
        assert!((10..=60).contains(&trials), "{trials} trials in two minutes");

        double.fail_calls(None);
        let well = VirtualTime::start().await;
        while router.health().await.status() != HealthStatus::Ready {
            assert!(well.passed() < Duration::from_secs(10), "it never becomes ready");
            sleep(CHECK).await;
        }
        assert_eq!(router.stats().routes[0].breaker, BreakerState::Closed);
    }
}

/// A back end that reports itself unavailable gets no trial.
#[tokio::test(start_paused = true)]
async fn a_back_end_that_says_that_it_is_down_is_not_tried() {
    let double = Scripted::new("e5", 8);
    for router in routers(&double) {
        double.fail_calls(Some(down()));
        break_it(&router).await;
        double.set_health(Health::unavailable(down()));
        let calls = double.calls();
        for _ in 0..10 {
            assert_eq!(router.health().await.status(), HealthStatus::Unavailable);
            sleep(CHECK).await;
        }
        assert_eq!(double.calls(), calls);
        double.set_health(Health::ready());
        double.fail_calls(None);
        assert_eq!(router.health().await.status(), HealthStatus::Ready, "as soon as it says so");
    }
}

/// A model may take long to load: the trial goes on while no check waits for it, and there is one at a time.
#[tokio::test(start_paused = true)]
async fn a_slow_trial_is_not_begun_again_and_again() {
    let double = Scripted::new("e5", 8);
    for router in routers(&double) {
        double.fail_calls(Some(down()));
        break_it(&router).await;
        double.fail_calls(None);
        double.set_delay(Duration::from_secs(7));
        advance(Duration::from_secs(1)).await;
        let calls = double.calls();
        for _ in 0..2 {
            assert_eq!(router.health().await.status(), HealthStatus::Unavailable);
            sleep(CHECK).await;
        }
        assert_eq!(double.calls(), calls + 1, "one trial at a time");
        sleep(CHECK * 2).await;
        assert_eq!(router.health().await.status(), HealthStatus::Ready);
        double.set_delay(Duration::ZERO);
    }
}

/// Trials aren't in the statistics of routes.
#[tokio::test(start_paused = true)]
async fn a_trial_counts_for_no_route() {
    let rig = Rig::hybrid(RouterConfig::default());
    rig.double("ollama").fail_calls(Some(down()));
    for _ in 0..5 {
        rig.router.embed(documents(&["words"])).await.unwrap_err();
    }
    let before = rig.router.stats().routes[0].calls;
    rig.double("ollama").fail_calls(None);
    sleep(CHECK).await;
    assert_eq!(rig.router.health().await.status(), HealthStatus::Ready);
    assert_eq!(rig.router.stats().routes[0].calls, before);
    assert_eq!(rig.double("ollama").seen("words", Role::Document), 5);
}
