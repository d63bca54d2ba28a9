//! Rollouts: which partitions move, what the file contains, and automatic stops.

use std::sync::Arc;
use std::time::Duration;

use embed_core::{Embedder, ErrorKind, HealthStatus};
use embed_router::{
    DecidedBy, Detector, PinBook, RolloutConfig, RolloutFile, Route, Router, RouterConfig, StopLimits,
    rollout_place,
};
use proptest::prelude::*;

use crate::support::{Letters, Rig, all_to, documents, down, outcomes};

const ROUTES: [(&str, &str); 2] = [("old", "e5"), ("new", "e5")];

fn rollout() -> RolloutConfig {
    RolloutConfig::new("old", "new")
}

fn rig(rollout: RolloutConfig) -> Rig {
    Rig::new(&ROUTES, all_to("old").with_rollout(rollout))
}

async fn route_in(rig: &Rig, partition: &str) -> String {
    let response = rig.router.embed(documents(&["words"]).with_partition(partition)).await.unwrap();
    outcomes(&response).swap_remove(0)
}

/// A partition whose place in the rollout is below the percentage, and one whose place isn't.
fn inside_and_outside(percentage: u8) -> [String; 2] {
    let named = |inside| {
        let names = (0..).map(|i| format!("tenant-{i}"));
        names.into_iter().find(|name| (rollout_place("", name) < percentage) == inside).unwrap()
    };
    [named(true), named(false)]
}

/// Computed by the C library (the Python package `xxhash` 3.6): the same in every process and on every machine.
#[test]
fn places_are_those_of_the_documented_hash() {
    let long = "a".repeat(300);
    for (salt, partition, place) in [
        ("", "tenant-1", 54),
        ("", "tenant-2", 1),
        ("", "コレクション", 57),
        ("2026-11", "tenant-1", 70),
        ("", "", 76),
        ("s", &long, 71),
    ] {
        assert_eq!(rollout_place(salt, partition), place, "{salt:?} {partition:?}");
    }
}

#[test]
fn the_share_is_the_configured_one() {
    for salt in ["", "2026-11", "another"] {
        let mut places = [0_u32; 100];
        for i in 0..100_000 {
            places[usize::from(rollout_place(salt, &format!("partition {i}")))] += 1;
        }
        let mut inside = 0;
        for (percentage, at) in (1..=100).zip(places) {
            inside += at;
            let share = f64::from(inside) / 1000.0;
            assert!((share - f64::from(percentage)).abs() < 1.0, "{share} % instead of {percentage} %");
        }
    }
}

proptest! {
    /// Included partitions stay included when the percentage is raised, through the whole router.
    #[test]
    fn raising_the_percentage_moves_nobody_out(partition in ".*", salt in ".{0,8}") {
        let rig = rig(rollout().with_salt(salt.as_str()));
        let rollout = rig.router.rollout().unwrap();
        let mut was_in = false;
        for percentage in 0..=100 {
            rollout.set_percentage(percentage).unwrap();
            let is_in = rollout.includes(&partition);
            prop_assert!(is_in || !was_in, "out again at {} %", percentage);
            prop_assert_eq!(is_in, rollout_place(&salt, &partition) < percentage);
            was_in = is_in;
        }
        prop_assert!(was_in, "every partition is included at 100 %");
    }
}

#[tokio::test]
async fn partitions_move_and_single_requests_do_not() {
    let rig = rig(rollout().with_percentage(30));
    let [inside, outside] = inside_and_outside(30);
    assert_eq!(route_in(&rig, &inside).await, "new");
    assert_eq!(route_in(&rig, &outside).await, "old");
    let alone = rig.router.embed(documents(&["words"])).await.unwrap();
    assert_eq!(outcomes(&alone), ["old"]);
    assert_eq!(rig.router.stats().moved, 1);
    let request = documents(&["words"]).with_partition(inside.as_str());
    assert_eq!(rig.router.decide(&request).unwrap()[0].by, DecidedBy::Rollout);
}

/// Only texts that the policy sends to the old route move; forced and pinned texts stay.
#[tokio::test]
async fn other_routes_requests_and_pins_stay() {
    let pins: PinBook = [("pinned", "old")].into_iter().collect();
    let config = RouterConfig::default().with_pins(pins);
    let config = config.with_rollout(RolloutConfig::new("ollama", "new").with_percentage(100));
    let rig = Rig::new(&[("ollama", "minilm"), ("e5", "e5"), ("new", "minilm"), ("old", "minilm")], config);
    let texts = ["words", "ことば"];
    let free = rig.router.embed(documents(&texts).with_partition("free")).await.unwrap();
    assert_eq!(outcomes(&free), ["new", "e5"]);
    let pinned = rig.router.embed(documents(&texts).with_partition("pinned")).await.unwrap();
    assert_eq!(outcomes(&pinned), ["old", "old"]);
    let forced = documents(&texts).with_partition("free").with_route("ollama");
    assert_eq!(outcomes(&rig.router.embed(forced).await.unwrap()), ["ollama", "ollama"]);
}

#[test]
fn another_space_must_be_allowed_explicitly() {
    let build = |rollout: RolloutConfig| {
        let routes = [("old", "a"), ("new", "b")];
        let routes = routes.map(|(name, space)| Route::new(name, embed_testkit::Scripted::new(space, 8)));
        Router::new(routes, Arc::new(Letters), all_to("old").with_rollout(rollout))
    };
    let error = build(rollout()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("`cross_space`"), "{error}");
    build(rollout().with_cross_space(true)).unwrap();
}

#[test]
fn settings_are_checked_by_name() {
    let limits = StopLimits::default();
    for (rollout, field) in [
        (RolloutConfig::new("old", "old"), "`to`"),
        (RolloutConfig::new("old", "newer"), "`to`"),
        (rollout().with_percentage(101), "`percentage`"),
        (rollout().with_limits(limits.with_error_rate(1.5)), "`limits.error_rate`"),
        (rollout().with_limits(limits.with_error_rate(f64::NAN)), "`limits.error_rate`"),
        (rollout().with_limits(limits.with_calls(10, 20)), "`limits.window`"),
    ] {
        let routes = ROUTES.map(|(name, space)| Route::new(name, embed_testkit::Scripted::new(space, 8)));
        let detector: Arc<dyn Detector> = Arc::new(Letters);
        let error = Router::new(routes, detector, all_to("old").with_rollout(rollout)).unwrap_err();
        assert!(error.to_string().contains(field), "{error}");
    }
}

/// A few failed calls in the window are enough here; the old route of the same space answers them instead.
#[tokio::test]
async fn a_failing_candidate_is_stopped_for_good() {
    let limits = StopLimits::default().with_calls(10, 5).with_error_rate(0.3);
    let rig = rig(rollout().with_percentage(100).with_limits(limits));
    for _ in 0..5 {
        assert_eq!(route_in(&rig, "tenant").await, "new");
    }
    rig.double("new").fail_calls(Some(down()));
    for _ in 0..3 {
        assert_eq!(route_in(&rig, "tenant").await, "old", "the old route of the same space is the fallback");
    }
    let status = rig.router.stats().rollout.unwrap();
    let stop = status.stopped.unwrap();
    assert_eq!(stop.reason, "37.5 % of the last 8 calls failed, and the limit is 30.0 %");
    assert!(stop.at > 1_700_000_000);
    assert_eq!((status.candidate.calls, status.candidate.failed), (8, 3));
    // It is healthy again, but the rollout stays stopped until a percentage is set.
    rig.double("new").fail_calls(None);
    let calls = rig.double("new").calls();
    for _ in 0..20 {
        assert_eq!(route_in(&rig, "tenant").await, "old");
    }
    assert_eq!(rig.double("new").calls(), calls);
    assert_eq!(rig.router.health().await.status(), HealthStatus::Ready);
    rig.router.rollout().unwrap().set_percentage(100).unwrap();
    assert_eq!(route_in(&rig, "tenant").await, "new");
    assert_eq!(rig.router.stats().rollout.unwrap().candidate.calls, 1, "counts start again");
}

#[tokio::test(start_paused = true)]
async fn a_slow_candidate_is_stopped() {
    let limits = StopLimits::default().with_calls(10, 5).with_p95(Duration::from_millis(100));
    let rig = rig(rollout().with_percentage(100).with_limits(limits));
    rig.double("new").set_delay(Duration::from_millis(150));
    // For a batch of ten this time is short.
    for _ in 0..10 {
        rig.router.embed(documents(&["words"; 10]).with_partition("tenant")).await.unwrap();
    }
    assert!(!rig.router.rollout().unwrap().is_stopped());
    assert_eq!(route_in(&rig, "tenant").await, "new");
    assert_eq!(route_in(&rig, "tenant").await, "old");
    let reason = rig.router.rollout().unwrap().state().stopped.unwrap().reason;
    assert!(reason.starts_with("the 95th percentile of the last 10 calls is 150.0ms"), "{reason}");
}

/// Invalid texts say nothing about the candidate.
#[tokio::test]
async fn bad_texts_stop_nothing() {
    let rig = rig(rollout().with_percentage(100).with_limits(StopLimits::default().with_calls(5, 2)));
    for _ in 0..10 {
        let response = rig.router.embed(documents(&["", "words"]).with_partition("tenant")).await.unwrap();
        assert_eq!(outcomes(&response), ["invalid_input", "new"]);
    }
    assert!(!rig.router.rollout().unwrap().is_stopped());
}

#[tokio::test]
async fn percentage_and_stop_outlive_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state").join("rollout.json");
    let config = || rollout().with_percentage(10).with_state_file(&path);
    let first = rig(config());
    let file = RolloutFile::new(&path);
    assert_eq!(file.read().unwrap().unwrap().percentage, 10);
    // The command sets the percentage, and the running router picks it up.
    file.update(|state| state.set_percentage(100)).unwrap();
    let handle = first.router.rollout().unwrap();
    assert!(handle.reload().unwrap());
    assert!(!handle.reload().unwrap());
    assert_eq!(route_in(&first, "tenant").await, "new");
    // The router stops the rollout, and the next router starts with it stopped.
    handle.stop("the operator said so").unwrap();
    let second = rig(config());
    let stopped = second.router.rollout().unwrap().state();
    assert_eq!(stopped.stopped.as_ref().unwrap().reason, "the operator said so");
    assert_eq!((stopped.percentage, stopped.share()), (100, 0));
    assert_eq!(route_in(&second, "tenant").await, "old");
    // Setting a percentage lifts the stop everywhere.
    second.router.rollout().unwrap().set_percentage(50).unwrap();
    assert!(handle.reload().unwrap());
    assert_eq!(handle.state(), second.router.rollout().unwrap().state());
    let names: Vec<_> =
        path.parent().unwrap().read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "only the state and its lock: {names:?}");
}

#[tokio::test]
async fn an_automatic_stop_reaches_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rollout.json");
    let limits = StopLimits::default().with_calls(2, 1).with_error_rate(0.0);
    let rig = rig(rollout().with_percentage(100).with_state_file(&path).with_limits(limits));
    rig.double("new").fail_calls(Some(down()));
    assert_eq!(route_in(&rig, "tenant").await, "old");
    assert!(rig.router.rollout().unwrap().is_stopped(), "at once, in this process");
    // The file is written in the background; a `reload` meanwhile must not lose the stop.
    let file = RolloutFile::new(&path);
    while file.read().unwrap().unwrap().stopped.is_none() {
        tokio::task::yield_now().await;
    }
    rig.router.rollout().unwrap().reload().unwrap();
    assert!(rig.router.rollout().unwrap().is_stopped());
}

/// While another process holds the lock, the stop isn't in the file yet; the file's older state must not lift it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_that_is_not_written_yet_survives_a_reload() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rollout.json");
    let limits = StopLimits::default().with_calls(2, 1).with_error_rate(0.0);
    let rig = rig(rollout().with_percentage(100).with_state_file(&path).with_limits(limits));
    rig.double("new").fail_calls(Some(down()));
    let lock = std::fs::File::options().write(true).open(folder.path().join("rollout.json.lock")).unwrap();
    lock.lock().unwrap();
    assert_eq!(route_in(&rig, "tenant").await, "old");
    let handle = Arc::clone(rig.router.rollout().unwrap());
    assert!(handle.is_stopped());
    assert!(rig.router.stats().rollout.unwrap().unsaved.is_some(), "the status reports that");
    let reloading = Arc::clone(&handle);
    let reload = tokio::task::spawn_blocking(move || reloading.reload());
    // The reload waits for the lock, like the stop.
    while !reload.is_finished() && RolloutFile::new(&path).read().unwrap().unwrap().stopped.is_none() {
        assert!(handle.is_stopped());
        assert!(!handle.includes("tenant"));
        if lock.unlock().is_ok() {
            tokio::task::yield_now().await;
        }
    }
    reload.await.unwrap().unwrap();
    assert!(handle.is_stopped(), "the reload lifted the stop");
    assert!(RolloutFile::new(&path).read().unwrap().unwrap().stopped.is_some());
    assert_eq!(rig.router.stats().rollout.unwrap().unsaved, None);
    // Setting a percentage lifts the stop.
    RolloutFile::new(&path).update(|state| state.set_percentage(100)).unwrap();
    assert!(handle.reload().unwrap());
    assert!(!handle.is_stopped());
}

/// A stop that can't be written holds in this process, and the file doesn't lift it.
#[tokio::test]
async fn a_stop_that_can_not_be_written_survives_a_reload() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rollout.json");
    let rig = rig(rollout().with_percentage(100).with_state_file(&path));
    let handle = rig.router.rollout().unwrap();
    // The lock can't be opened.
    let lock = folder.path().join("rollout.json.lock");
    std::fs::remove_file(&lock).unwrap();
    std::fs::create_dir(&lock).unwrap();
    handle.stop("the operator said so").unwrap_err();
    for _ in 0..2 {
        handle.reload().unwrap_err();
        assert!(handle.is_stopped());
    }
    std::fs::remove_dir(&lock).unwrap();
    handle.reload().unwrap();
    assert!(handle.is_stopped());
    assert!(RolloutFile::new(&path).read().unwrap().unwrap().stopped.is_some());
}

#[test]
fn files_that_are_not_of_this_rollout_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rollout.json");
    let build = |rollout: RolloutConfig| {
        let routes = ROUTES.map(|(name, space)| Route::new(name, embed_testkit::Scripted::new(space, 8)));
        let router = Router::new(
            routes,
            Arc::new(Letters),
            all_to("old").with_rollout(rollout.with_state_file(&path)),
        );
        router.map(drop)
    };
    assert!(RolloutFile::new(&path).update(|state| state.set_percentage(1)).is_err(), "there is no file yet");
    build(rollout()).unwrap();
    assert_eq!(build(rollout().with_salt("another")).unwrap_err().kind(), ErrorKind::Config);
    assert_eq!(build(RolloutConfig::new("new", "old")).unwrap_err().kind(), ErrorKind::Config);
    let error = RolloutFile::new(&path).update(|state| state.set_percentage(101)).unwrap_err();
    assert!(error.to_string().contains("from 0 to 100"), "{error}");
    for damaged in ["", "{}", r#"{"from":"old","to":"new","salt":"","percentage":101,"stopped":null}"#] {
        std::fs::write(&path, damaged).unwrap();
        let error = build(rollout()).unwrap_err();
        assert!(error.to_string().contains("rollout.json"), "{error}");
    }
}

/// Concurrent writers: none overwrites another's change.
#[test]
fn concurrent_changes_are_all_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rollout.json");
    drop(rig(rollout().with_state_file(&path)));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..20 {
                    let more =
                        |state: &mut embed_router::RolloutState| state.set_percentage(state.percentage + 1);
                    RolloutFile::new(&path).update(more).unwrap();
                }
            });
        }
    });
    assert_eq!(RolloutFile::new(&path).read().unwrap().unwrap().percentage, 80);
}

#[tokio::test(start_paused = true)]
async fn a_router_that_follows_sees_what_the_command_sets() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rollout.json");
    let rig = rig(rollout().with_state_file(&path));
    let handle = Arc::clone(rig.router.rollout().unwrap());
    let following = tokio::spawn(Arc::clone(&handle).follow(Duration::from_secs(1), |_| ()));
    RolloutFile::new(&path).update(|state| state.set_percentage(100)).unwrap();
    while !handle.includes("tenant") {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    following.abort();
}
