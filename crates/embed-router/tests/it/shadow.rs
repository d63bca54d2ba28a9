//! Trials of a candidate in the background: what is compared, what is dropped, and that callers aren't affected.

use std::sync::Arc;
use std::time::Duration;

use embed_core::{
    EmbedRequest, EmbedResponse, Embedder, Health, HealthStatus, ModelInfo, Result, async_trait,
};
use embed_router::{
    Agreement, RolloutConfig, RolloutStatus, Route, Router, RouterConfig, ShadowConfig, StopLimits,
};
use embed_testkit::{Scripted, VirtualTime};

use crate::support::{Letters, Rig, all_to, documents, down, outcomes};

fn always() -> ShadowConfig {
    ShadowConfig::default().with_share(1.0)
}

/// A candidate on trial, which serves no partition.
fn on_trial(space: &str, shadow: ShadowConfig) -> Rig {
    let rollout = RolloutConfig::new("old", "new").with_cross_space(true).with_shadow(shadow);
    Rig::new(&[("old", "e5"), ("new", space)], all_to("old").with_rollout(rollout))
}

fn status(router: &Router) -> RolloutStatus {
    router.stats().rollout.unwrap()
}

/// Lets the worker finish its work. In virtual time, a sleep ends once all tasks wait.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

async fn embed_many(rig: &Rig, calls: usize) {
    for call in 0..calls {
        let texts = [format!("first of call {call}"), format!("second of call {call}")];
        assert_eq!(outcomes(&rig.router.embed(documents(&texts)).await.unwrap()), ["old", "old"]);
        settle().await;
    }
}

#[tokio::test(start_paused = true)]
async fn in_one_space_vectors_are_compared_by_cosine() {
    let rig = on_trial("e5", always());
    embed_many(&rig, 30).await;
    let status = status(&rig.router);
    let Some(Agreement::Cosine { texts, mean, lowest }) = status.shadow.agreement else {
        panic!("{:?}", status.shadow);
    };
    assert_eq!((texts, status.shadow.sampled, status.shadow.dropped), (60, 60, 0));
    assert!(mean > 0.9999 && lowest > 0.9999);
    assert_eq!((status.candidate.calls, status.candidate.failed, status.current.calls), (30, 0, 30));
    assert_eq!(rig.router.stats().moved, 0);
    assert_eq!(rig.router.stats().routes[1].calls, 0, "trials don't count as calls of the route");
}

/// The same numbers in a space of another name have the same neighbours; for other numbers agreement is by chance.
#[tokio::test(start_paused = true)]
async fn in_two_spaces_neighbours_are_compared() {
    let old = Scripted::new("e5", 8);
    let same = Scripted::new("other", 8).with_numbers_of(&old);
    let different = Scripted::new("other", 8);
    for (candidate, agrees) in [(same, true), (different, false)] {
        let doubles = [("old", old.clone()), ("new", candidate)].into_iter().collect();
        let shadow = always().with_neighbours(5, 50);
        let rollout = RolloutConfig::new("old", "new").with_cross_space(true).with_shadow(shadow);
        let rig = Rig::over(&[("old", "e5"), ("new", "other")], doubles, all_to("old").with_rollout(rollout));
        embed_many(&rig, 60).await;
        let Some(Agreement::Overlap { texts, mean, neighbours }) = status(&rig.router).shadow.agreement
        else {
            panic!("no overlap");
        };
        assert_eq!((texts, neighbours), (120 - 6, 5), "the first ones have too few samples to compare with");
        if agrees {
            assert_eq!(mean, 1.0);
        } else {
            // By chance five of fifty, and somewhat more while there are fewer.
            assert!((0.05..0.35).contains(&mean), "{mean}");
        }
    }
}

/// The caller waits exactly as long as for the old route, in virtual time, whatever the candidate does.
#[tokio::test(start_paused = true)]
async fn a_caller_never_waits_for_the_candidate() {
    for candidate in ["well", "slow", "dead", "hanging"] {
        let rig = on_trial("e5", always());
        let (old, new) = (rig.double("old"), rig.double("new"));
        old.set_delay(Duration::from_millis(10));
        match candidate {
            "slow" => new.set_delay(Duration::from_secs(3)),
            "dead" => new.fail_calls(Some(down())),
            "hanging" => new.hold(),
            _ => {}
        }
        let time = VirtualTime::start().await;
        for _ in 0..100 {
            rig.router.embed(documents(&["words"])).await.unwrap();
        }
        assert_eq!(time.passed(), Duration::from_millis(1000), "{candidate}");
        assert!(new.in_flight() <= 2, "{candidate}");
        assert_eq!(rig.router.health().await.status(), HealthStatus::Ready, "trials don't affect the health");
    }
}

/// A candidate that never answers, not even at its deadline.
#[derive(Debug)]
struct Hanging(Scripted);

#[async_trait]
impl Embedder for Hanging {
    fn model(&self) -> &ModelInfo {
        self.0.model()
    }

    async fn embed(&self, _: EmbedRequest) -> Result<EmbedResponse> {
        std::future::pending().await
    }

    async fn health(&self) -> Health {
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_hanging_candidate_is_stopped_by_its_timeouts() {
    let shadow = always().with_candidate(2, Duration::from_secs(1)).with_budget(10, 1 << 20);
    let limits = StopLimits::default().with_calls(20, 10);
    let rollout = RolloutConfig::new("old", "new").with_shadow(shadow).with_limits(limits);
    let routes =
        [Route::new("old", Scripted::new("e5", 8)), Route::new("new", Hanging(Scripted::new("e5", 8)))];
    let router = Router::new(routes, Arc::new(Letters), all_to("old").with_rollout(rollout)).unwrap();
    for _ in 0..100 {
        let time = VirtualTime::start().await;
        router.embed(documents(&["words"])).await.unwrap();
        assert_eq!(time.passed(), Duration::ZERO);
        tokio::time::advance(Duration::from_millis(100)).await;
        settle().await;
    }
    let status = status(&router);
    let stop = status.stopped.expect("the rollout is stopped");
    assert!(stop.reason.starts_with("100.0 % of the last 10 calls failed"), "{}", stop.reason);
    assert!(status.shadow.dropped > 0, "the queue is bounded");
    assert!(status.shadow.sampled + status.shadow.dropped < 100, "nothing is sampled after the stop");
}

#[tokio::test(start_paused = true)]
async fn a_dead_candidate_is_stopped() {
    let rig = on_trial("e5", always());
    rig.double("new").fail_calls(Some(down()));
    embed_many(&rig, 60).await;
    let status = status(&rig.router);
    assert!(status.stopped.unwrap().reason.starts_with("100.0 % of the last 50 calls failed"));
    assert_eq!(rig.double("new").calls(), 50, "after the stop it isn't called");
    assert!(status.shadow.agreement.is_none());
}

#[tokio::test(start_paused = true)]
async fn queued_rows_and_bytes_are_bounded() {
    let long = "long ".repeat(200);
    for (shadow, text) in [
        (always().with_budget(10, usize::MAX), "words"),
        (always().with_budget(usize::MAX, 5000), long.as_str()),
    ] {
        let rig = on_trial("e5", shadow);
        rig.double("new").hold();
        for _ in 0..100 {
            rig.router.embed(documents(&[text, text])).await.unwrap();
        }
        let status = status(&rig.router).shadow;
        assert_eq!(status.sampled + status.dropped, 200);
        assert!((4..=10).contains(&status.sampled), "{status:?}");
        // Queued samples are tried later, and then there is room again.
        rig.double("new").release();
        settle().await;
        rig.router.embed(documents(&[text, text])).await.unwrap();
        settle().await;
        assert_eq!(self::status(&rig.router).shadow.sampled, status.sampled + 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_share_of_the_calls_and_a_few_of_their_texts_are_sampled() {
    let rig = on_trial("e5", always().with_share(0.25).with_rows_of_a_call(3));
    for _ in 0..40 {
        rig.router.embed(documents(&["a", "b", "", "c", "d", "e"])).await.unwrap();
        settle().await;
    }
    assert_eq!(rig.double("new").calls(), 10);
    assert_eq!(rig.double("new").texts(), 30, "three good ones of each call");
    let none = on_trial("e5", ShadowConfig::default());
    embed_many(&none, 10).await;
    assert_eq!(none.double("new").calls(), 0, "nothing is sampled by default");
}

/// Only rows of the old route are compared, even in a batch for several routes.
#[tokio::test(start_paused = true)]
async fn other_routes_are_not_sampled() {
    let rollout = RolloutConfig::new("ollama", "new").with_shadow(always());
    let routes = [("ollama", "minilm"), ("e5", "e5"), ("new", "minilm")];
    let rig = Rig::new(&routes, RouterConfig::default().with_rollout(rollout));
    rig.router.embed(documents(&["words", "ことば", "more words"])).await.unwrap();
    rig.router.embed(documents(&["ことば"])).await.unwrap();
    settle().await;
    assert_eq!(rig.double("new").texts(), 2);
    assert_eq!(status(&rig.router).shadow.sampled, 2);
}

/// Dropping the router ends its trials.
#[tokio::test(start_paused = true)]
async fn trials_end_with_the_router() {
    let rig = on_trial("e5", always());
    let new = rig.double("new").clone();
    new.hold();
    rig.router.embed(documents(&["words"])).await.unwrap();
    new.begun(1).await;
    drop(rig);
    tokio::time::sleep(ShadowConfig::default().timeout * 2).await;
    assert_eq!(new.in_flight(), 0);
}

#[test]
fn without_a_runtime_nothing_is_sampled() {
    let rig = on_trial("e5", always());
    let call = std::pin::pin!(rig.router.embed(documents(&["words"])));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(Future::poll(call, &mut context).is_ready());
    assert_eq!(status(&rig.router).shadow.dropped, 1);
}

#[test]
fn the_status_is_json_for_the_command() {
    let rig = on_trial("e5", always());
    let json = serde_json::to_value(status(&rig.router)).unwrap();
    assert_eq!((json["from"].as_str(), json["percentage"].as_u64()), (Some("old"), Some(0)));
    let back: RolloutStatus = serde_json::from_value(json).unwrap();
    assert_eq!(back, status(&rig.router));
}
