//! What lies in the data folder: damaged, half made, or wanted by several at once.

#![expect(clippy::unwrap_used, reason = "a test may die of what it doesn't expect")]

mod common;

use std::fs;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use common::{CHILD, Copies, Ears, Home, child, hub, options, profile, pull, weights};
use embed_assets::{Asset, AssetState, Progress, Pulled, Raw, Repack, list, pull_model, roll_back, verify};
use embed_core::{Error, ErrorKind};
use embed_encoder::assets::{DataHome, MANIFEST_NAME, MODEL_FILE, ModelFiles, POINTER_NAME};
use embed_encoder::{Precision, Profile};
use embed_testkit::hub::Place;

const ASSET: &str = "e5-small-v2 int8";

fn asset() -> Asset {
    let found = Asset::all().into_iter().find(|asset| asset.to_string() == ASSET);
    found.unwrap()
}

#[tokio::test]
async fn damage_of_every_sort_is_found_and_repaired() {
    let (hub, home) = (hub().await, Home::new());
    let options = options(hub.endpoint());
    pull(&home, &options).await.unwrap();
    let model = home.model().join(MODEL_FILE);
    let damages: [(&str, &dyn Fn()); 5] = [
        ("one byte", &|| {
            let mut bytes = fs::read(&model).unwrap();
            bytes[1_000_000] ^= 1;
            fs::write(&model, bytes).unwrap();
        }),
        ("cut short", &|| fs::write(&model, &weights()[..1000]).unwrap()),
        ("gone", &|| fs::remove_file(&model).unwrap()),
        ("no manifest", &|| fs::remove_file(home.model().join(MANIFEST_NAME)).unwrap()),
        ("a manifest of nonsense", &|| fs::write(home.model().join(MANIFEST_NAME), "{").unwrap()),
    ];
    for (name, damage) in damages {
        damage();
        ModelFiles::open(&home.home, profile(), Precision::Int8).expect_err(name);
        let verified = verify(&home.home, &[asset()], &Ears::default()).await.unwrap();
        assert!(verified.iter().any(|file| file.outcome.is_err()), "{name}: {verified:?}");
        let pulled = pull(&home, &options).await.unwrap();
        assert!(matches!(pulled, Pulled::Fetched(_)), "{name}");
        assert_eq!(fs::read(&model).unwrap(), weights(), "{name}");
    }
    assert!(home.names("tmp").is_empty(), "nothing is left over");
}

#[tokio::test]
async fn a_pull_that_fails_leaves_what_was_there() {
    let (hub, home) = (hub().await, Home::new());
    let mut options = options(hub.endpoint());
    pull(&home, &options).await.unwrap();
    options.force = true;
    options.hub.endpoint = "http://127.0.0.1:1".to_owned();
    pull(&home, &options).await.unwrap_err();
    ModelFiles::open(&home.home, profile(), Precision::Int8).unwrap();
    options.hub.endpoint = hub.endpoint();
    assert!(matches!(pull(&home, &options).await.unwrap(), Pulled::Fetched(_)));
}

#[tokio::test]
async fn leftovers_of_the_dead_are_cleared_away() {
    let (hub, home) = (hub().await, Home::new());
    let tmp = home.home.root().join("tmp");
    fs::create_dir_all(tmp.join("e5-small-v2.dead/deep")).unwrap();
    fs::create_dir_all(tmp.join("runtime.alive")).unwrap();
    pull(&home, &options(hub.endpoint())).await.unwrap();
    assert_eq!(home.names("tmp"), ["runtime.alive"], "that of another asset may be in use");
}

#[tokio::test]
async fn listing_and_verifying_tell_what_is_there() {
    let (hub, home) = (hub().await, Home::new());
    assert!(list(&home.home).iter().all(|listed| matches!(listed.state, AssetState::Absent)));
    pull(&home, &options(hub.endpoint())).await.unwrap();
    let state = |state: &str| {
        let listed = list(&home.home).into_iter().find(|listed| listed.asset.to_string() == ASSET).unwrap();
        format!("{:?}", listed.state).starts_with(state)
    };
    assert!(state("Present"));
    let verified = verify(&home.home, &Asset::all(), &Ears::default()).await.unwrap();
    let names: Vec<&str> = verified.iter().map(|file| file.file.as_str()).collect();
    assert_eq!(names, [MODEL_FILE, "profile.json", "tokenizer.json"]);
    assert!(verified.iter().all(|file| file.outcome.is_ok() && file.bytes > 0));
    fs::write(home.model().join(MODEL_FILE), "short").unwrap();
    assert!(state("Damaged"));
}

#[cfg(unix)]
#[tokio::test]
async fn a_folder_that_others_may_read_is_made() {
    use std::os::unix::fs::PermissionsExt;
    let (hub, home) = (hub().await, Home::new());
    pull(&home, &options(hub.endpoint())).await.unwrap();
    let beside = home.folder.path().join("beside");
    fs::create_dir(&beside).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(&home.model()), mode(&beside), "the user's mask decides, as for any folder");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_tasks_fetch_once() {
    let (hub, home) = (hub().await, Home::new());
    let options = Arc::new(options(hub.endpoint()));
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let (options, home) = (Arc::clone(&options), home.home.clone());
            tokio::spawn(async move {
                pull_model(&home, profile(), Precision::Int8, &options, &Ears::default()).await
            })
        })
        .collect();
    let mut fetched = 0;
    for task in tasks {
        fetched += usize::from(matches!(task.await.unwrap().unwrap(), Pulled::Fetched(_)));
    }
    assert_eq!(fetched, 1);
    assert_eq!(hub.requests_for(Place::Store, "model.safetensors").len(), 1);
}

/// Runs in a process of its own, by the test below.
#[tokio::test]
async fn child_pulls() {
    let (Some(_), Ok(root), Ok(endpoint)) =
        (std::env::var_os(CHILD), std::env::var("EMBED_HOME"), std::env::var("HF_ENDPOINT"))
    else {
        return;
    };
    let home = DataHome::new(root);
    pull_model(&home, profile(), Precision::Int8, &options(endpoint), &Ears::default()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_processes_fetch_once() {
    let (hub, home) = (hub().await, Home::new());
    let variables = [("EMBED_HOME", home.home.root().to_str().unwrap()), ("HF_ENDPOINT", &hub.endpoint())];
    let children: Vec<_> = (0..3).map(|_| child("child_pulls", &variables).spawn().unwrap()).collect();
    for mut child in children {
        assert!(child.wait().await.unwrap().success());
    }
    assert_eq!(hub.requests_for(Place::Store, "model.safetensors").len(), 1);
    ModelFiles::open(&home.home, profile(), Precision::Int8).unwrap();
}

/// Makes the model when it hears that somebody waits for it.
#[derive(Debug)]
struct WaitsToBeWaitedFor(Mutex<Receiver<()>>);

impl Repack for WaitsToBeWaitedFor {
    fn repack(
        &self,
        raw: &Raw,
        profile: &'static Profile,
        precision: Precision,
        folder: &Path,
    ) -> Result<(), Error> {
        self.0.lock().unwrap().recv().unwrap();
        Copies.repack(raw, profile, precision, folder)
    }
}

#[derive(Debug)]
struct TellsOfWaiting(Sender<()>);

impl Progress for TellsOfWaiting {
    fn message(&self, text: &str) {
        if text.contains("waiting for it") {
            self.0.send(()).unwrap();
        }
    }
    fn bytes(&self, _: &str, _: u64, _: Option<u64>) {}
    fn finished(&self, _: &str) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_second_pull_says_that_it_waits_and_finds_it_done() {
    let (hub, home) = (hub().await, Home::new());
    let (sender, receiver) = channel();
    let mut first = options(hub.endpoint());
    first.repack = Arc::new(WaitsToBeWaitedFor(Mutex::new(receiver)));
    let data = home.home.clone();
    let first =
        tokio::spawn(
            async move { pull_model(&data, profile(), Precision::Int8, &first, &Ears::default()).await },
        );
    // Its four requests mean that it holds the lock.
    hub.reached(4).await;
    let options = options(hub.endpoint());
    let progress = TellsOfWaiting(sender);
    let second = pull_model(&home.home, profile(), Precision::Int8, &options, &progress).await.unwrap();
    assert!(matches!(second, Pulled::AlreadyThere(_)));
    assert!(matches!(first.await.unwrap().unwrap(), Pulled::Fetched(_)));
}

#[tokio::test]
async fn a_pull_that_is_dropped_leaves_nothing_behind_but_its_download() {
    let (hub, home) = (hub().await, Home::new());
    hub.script(Place::Store, "model.safetensors", [embed_testkit::hub::Fault::Silence]);
    let settings = options(hub.endpoint());
    tokio::select! {
        outcome = pull(&home, &settings) => panic!("a silent store gives nothing: {outcome:?}"),
        () = hub.reached(4) => {}
    }
    assert!(home.names("tmp").is_empty() && !home.model().exists());
    assert_eq!(home.names("downloads"), ["e5-small-v2"]);
    pull(&home, &settings).await.unwrap();
}

/// Pulls other weights than before.
async fn pull_another(hub: &embed_testkit::hub::HubDouble, home: &Home, seed: u8) {
    let other: Vec<u8> = weights().iter().map(|byte| byte ^ seed).collect();
    hub.put_large(profile().repository, profile().revision, "model.safetensors", other);
    let mut options = options(hub.endpoint());
    options.force = true;
    assert!(matches!(pull(home, &options).await.unwrap(), Pulled::Fetched(_)));
}

#[tokio::test]
async fn whoever_reads_a_version_keeps_it_and_the_next_pull_collects_it() {
    let (hub, home) = (hub().await, Home::new());
    pull(&home, &options(hub.endpoint())).await.unwrap();
    let open = || ModelFiles::open(&home.home, profile(), Precision::Int8).unwrap();
    let first = open();
    for seed in 1..4 {
        pull_another(&hub, &home, seed).await;
        assert_ne!(open().model_sha256, first.model_sha256);
        assert_eq!(fs::read(&first.model).unwrap(), weights(), "after {seed} others");
        first.verify_again().unwrap();
    }
    assert_eq!(home.versions(), 3, "the first, the last, and the one before");
    drop(first);
    pull(&home, &options(hub.endpoint())).await.unwrap();
    assert_eq!(home.versions(), 2);
    assert!(home.names("tmp").is_empty());
}

#[tokio::test]
async fn a_file_that_somebody_changes_under_its_reader_is_noticed() {
    let (hub, home) = (hub().await, Home::new());
    pull(&home, &options(hub.endpoint())).await.unwrap();
    let files = ModelFiles::open(&home.home, profile(), Precision::Int8).unwrap();
    // Touched and the same: read again, and fine.
    fs::write(&files.model, weights()).unwrap();
    files.verify_again().unwrap();
    let other: Vec<u8> = weights().into_iter().rev().collect();
    fs::write(&files.model, other).unwrap();
    let error = files.verify_again().unwrap_err();
    assert!(error.to_string().contains("model.onnx is corrupt"), "{error}");
    assert!(error.to_string().contains("fix"), "{error}");
}

#[tokio::test]
async fn there_is_a_way_back_which_pulls_respect() {
    let (hub, home) = (hub().await, Home::new());
    let open = || ModelFiles::open(&home.home, profile(), Precision::Int8).unwrap().model_sha256;
    let error = roll_back(&home.home, asset(), &Ears::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ModelNotFound);
    pull(&home, &options(hub.endpoint())).await.unwrap();
    let first = open();
    pull_another(&hub, &home, 1).await;
    let second = open();
    for expected in [&first, &second, &first] {
        roll_back(&home.home, asset(), &Ears::default()).await.unwrap();
        assert_eq!(open(), **expected);
    }
    let listed = list(&home.home).into_iter().find(|listed| listed.asset == asset()).unwrap();
    let pointer = listed.pointer.unwrap();
    assert!(pointer.rolled_back && pointer.previous.is_some());
    assert!(matches!(pull(&home, &options(hub.endpoint())).await.unwrap(), Pulled::AlreadyThere(_)));
    assert_eq!(open(), first);
    // A damaged version is no way back.
    let slot = home.home.model_slot(profile(), Precision::Int8);
    let previous = slot.version_dir(&slot.pointer().unwrap().unwrap().previous.unwrap());
    fs::write(previous.join(MODEL_FILE), "damaged").unwrap();
    roll_back(&home.home, asset(), &Ears::default()).await.unwrap_err();
    assert_eq!(open(), first);
}

#[tokio::test]
async fn files_of_a_release_without_versions_are_used_and_moved_by_the_next_pull() {
    let (hub, home) = (hub().await, Home::new());
    pull(&home, &options(hub.endpoint())).await.unwrap();
    home.flatten();
    let root = home.model();
    assert!(root.join(MODEL_FILE).is_file());
    let reader = ModelFiles::open(&home.home, profile(), Precision::Int8).unwrap();
    let requests = hub.requests().len();
    assert!(matches!(pull(&home, &options(hub.endpoint())).await.unwrap(), Pulled::AlreadyThere(_)));
    assert_eq!(hub.requests().len(), requests, "nothing is fetched");
    assert!(root.join(POINTER_NAME).is_file() && home.model() != root);
    assert_eq!(fs::read(&reader.model).unwrap(), weights(), "its reader keeps it");
    reader.verify_again().unwrap();
    drop(reader);
    pull(&home, &options(hub.endpoint())).await.unwrap();
    assert!(!root.join(MODEL_FILE).exists() && !root.join(MANIFEST_NAME).exists());
    ModelFiles::open(&home.home, profile(), Precision::Int8).unwrap();
}

/// Readers that come while versions change find one each time, whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_reader_ever_finds_nothing() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let (hub, home) = (hub().await, Home::new());
    pull(&home, &options(hub.endpoint())).await.unwrap();
    pull_another(&hub, &home, 1).await;
    let (data, done) = (home.home.clone(), Arc::new(AtomicBool::new(false)));
    let reader = {
        let done = Arc::clone(&done);
        std::thread::spawn(move || {
            let mut opened = 0;
            while !done.load(Ordering::Relaxed) || opened == 0 {
                ModelFiles::open(&data, profile(), Precision::Int8).unwrap();
                opened += 1;
            }
        })
    };
    for seed in 2..6 {
        pull_another(&hub, &home, seed).await;
    }
    done.store(true, Ordering::Relaxed);
    reader.join().unwrap();
}

#[tokio::test]
async fn a_lock_that_is_never_given_back_ends_in_words() {
    let (hub, home) = (hub().await, Home::new());
    let locks = home.home.root().join("locks");
    fs::create_dir_all(&locks).unwrap();
    let held = fs::File::create(locks.join("e5-small-v2.lock")).unwrap();
    held.lock().unwrap();
    let mut options = options(hub.endpoint());
    options.lock_wait = std::time::Duration::from_millis(20);
    let error = pull(&home, &options).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.to_string().contains("another program") && error.to_string().contains(".lock"), "{error}");
    drop(held);
    pull(&home, &options).await.unwrap();
}
