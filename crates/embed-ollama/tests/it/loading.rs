//! Loads that take long, in virtual time.

use std::time::Duration;

use embed_core::{Embedder, EmbedderExt, ErrorKind};
use embed_testkit::VirtualTime;
use embed_testkit::ollama::OllamaDouble;
use futures::future::join_all;
use tokio::time::timeout;

use crate::{config, connect, request, rows_are_right, texts};

const LOAD: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_secs(5);
const VERSIONS: [&str; 5] = ["0.3.0", "0.5.4", "0.9.3", "0.13.5", "0.30.0"];

#[tokio::test(start_paused = true)]
async fn a_cold_server_is_waited_for_with_one_load() {
    for version in VERSIONS {
        let double = OllamaDouble::start(version).await;
        double.change(|script| script.load_time = LOAD);
        let time = VirtualTime::start().await;
        let client = connect(config(&double).with_request_timeout(SHORT)).await;
        assert!(time.passed() >= LOAD);
        client.encode_query("a text").await.unwrap();
        assert_eq!((double.loads(), double.aborted_loads()), (1, 0), "{version}");
    }
}

/// The model is unloaded behind the client's back, which takes it for warm.
#[tokio::test(start_paused = true)]
async fn a_load_that_nobody_expected_is_not_aborted() {
    for version in VERSIONS {
        for listed in [true, false] {
            let double = OllamaDouble::start(version).await;
            let client = connect(config(&double).with_request_timeout(SHORT)).await;
            double.change(|script| {
                script.load_time = LOAD;
                script.lists_loading = listed;
            });
            double.unload();
            let before = double.loads();
            let texts = texts(20);
            let calls = (0..4).map(|_| client.embed(request(&texts)));
            for response in join_all(calls).await {
                rows_are_right(&double, &response.unwrap(), &texts).unwrap();
            }
            assert_eq!((double.loads() - before, double.aborted_loads()), (1, 0), "{version}, {listed}");
            assert!(client.stats().long_waits > 0);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_goes_away_aborts_no_load() {
    let double = OllamaDouble::start("0.9.3").await;
    let client = connect(config(&double).with_request_timeout(SHORT)).await;
    double.change(|script| script.load_time = LOAD);
    double.unload();
    // The keep-alive is over for the client, too.
    tokio::time::sleep(Duration::from_secs(1800)).await;
    for _ in 0..5 {
        let call = timeout(Duration::from_secs(2), client.encode_query("a text")).await;
        assert!(call.is_err(), "nobody loads in 2 s");
    }
    client.encode_query("a text").await.unwrap();
    assert_eq!((double.loads(), double.aborted_loads()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_the_wait_and_not_the_load() {
    let double = OllamaDouble::start("0.9.3").await;
    let client = connect(config(&double)).await;
    double.change(|script| script.load_time = LOAD);
    double.unload();
    tokio::time::sleep(Duration::from_secs(1800)).await;
    let time = VirtualTime::start().await;
    let deadline = (time.started() + SHORT).into_std();
    let error = client.embed(request(&["a"]).with_deadline(deadline)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(time.passed() < SHORT + Duration::from_secs(1));
    tokio::time::sleep(LOAD).await;
    assert_eq!(double.aborted_loads(), 0);
    client.encode_query("a text").await.unwrap();
    assert_eq!(double.loads(), 2);
}

#[tokio::test(start_paused = true)]
async fn warm_up_loads() {
    let double = OllamaDouble::start("0.9.3").await;
    let client = connect(config(&double)).await;
    double.unload();
    tokio::time::sleep(Duration::from_secs(1800)).await;
    assert!(!client.servers()[0].warm);
    client.warm_up().await.unwrap();
    assert!(client.servers()[0].warm);
    assert_eq!(double.loads(), 2);
    client.warm_up().await.unwrap();
    assert_eq!(double.loads(), 2);
}

/// The runner hangs while the rest of the server answers, and the model was loaded long ago.
#[tokio::test(start_paused = true)]
async fn a_wedged_runner_is_not_taken_for_a_load() {
    let double = OllamaDouble::start("0.30.0").await;
    let client = connect(config(&double).with_request_timeout(SHORT)).await;
    double.change(|script| script.wedged = true);
    let time = VirtualTime::start().await;
    let error = client.encode_query("a text").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(time.passed() < Duration::from_secs(60), "{:?}", time.passed());
}

#[tokio::test(start_paused = true)]
async fn options_never_change_so_that_nothing_is_loaded_again() {
    for version in ["0.9.3", "0.12.11", "0.13.5", "0.30.0"] {
        let double = OllamaDouble::start(version).await;
        double.change(|script| script.context = 8192);
        let client = connect(config(&double)).await;
        client.embed(request(&texts(10))).await.unwrap();
        client.warm_up().await.unwrap();
        assert_eq!(double.loads(), 1, "{version}");
        // A long text must fit into one batch, where the default is smaller than the context.
        let batches: Vec<_> = double
            .requests_for("/api/embed")
            .iter()
            .map(|request| request.body["options"]["num_batch"].clone())
            .collect();
        let expected = if version == "0.13.5" { serde_json::Value::Null } else { 4096.into() };
        assert!(batches.iter().all(|batch| *batch == expected), "{version}: {batches:?}");
    }
}

/// A server that must not keep the model: every request loads it, and no request more than that.
#[tokio::test(start_paused = true)]
async fn a_model_that_is_not_kept_is_loaded_by_its_requests() {
    let double = OllamaDouble::start("0.9.3").await;
    let mut config = config(&double);
    config.keep_alive = Some(embed_ollama::KeepAlive::Seconds(0));
    let client = connect(config).await;
    double.forget();
    client.encode_query("a text").await.unwrap();
    let sent = double.requests_for("/api/embed");
    assert_eq!((sent.len(), sent[0].body["keep_alive"].as_i64()), (1, Some(0)));
}
