//! How long callers are held while no server answers: for as long as the settings say, and never past a deadline.

use std::iter::repeat_n;
use std::time::Duration;

use embed_core::{Embedder, EmbedderExt, ErrorKind, Retry};
use embed_ollama::OllamaConfig;
use embed_testkit::VirtualTime;
use embed_testkit::ollama::{Fault, OllamaDouble};
use futures::future::join_all;

use crate::{config, connect, request, texts};

/// What a proxy says whose server is gone, and what is seen where there is none.
fn outages() -> [Fault; 4] {
    let page = |status| Fault::Answer {
        status,
        body: "<html>bad gateway</html>".to_owned(),
        content_type: "text/html",
        retry_after: None,
    };
    [Fault::Error(502, "bad gateway".to_owned()), page(502), page(504), Fault::Cut(0)]
}

#[tokio::test(start_paused = true)]
async fn a_call_waits_for_an_outage_no_longer_than_the_settings_say() {
    let longest = OllamaConfig::default().longest_outage;
    assert_eq!(longest, Duration::from_secs(3));
    for fault in outages() {
        let double = OllamaDouble::start("0.9.3").await;
        let client = connect(config(&double)).await;
        double.fail(repeat_n(fault.clone(), 100_000));
        // One after the other, so that some meet a server that was left out; and many at once, of many requests each.
        for at_once in [1, 1, 1, 20, 1, 20] {
            let time = VirtualTime::start().await;
            let batch = texts(200);
            for answer in join_all((0..at_once).map(|_| client.embed(request(&batch)))).await {
                let error = answer.unwrap_err();
                assert_eq!(
                    (error.kind(), error.retry()),
                    (ErrorKind::Unavailable, Retry::Exhausted),
                    "{fault:?}"
                );
            }
            assert!(time.passed() <= longest, "{fault:?}: {:?}", time.passed());
        }
        double.heal();
        tokio::time::sleep(Duration::from_secs(5)).await;
        client.encode_query("a text").await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn nor_does_it_for_a_server_that_is_gone() {
    let double = OllamaDouble::start("0.9.3").await;
    let client = connect(config(&double)).await;
    drop(double);
    for _ in 0..10 {
        let time = VirtualTime::start().await;
        client.encode_query("a text").await.unwrap_err();
        assert!(time.passed() <= OllamaConfig::default().longest_outage, "{:?}", time.passed());
    }
}

/// A short outage is waited for.
#[tokio::test(start_paused = true)]
async fn what_ends_in_time_is_no_error() {
    for fault in outages() {
        let double = OllamaDouble::start("0.9.3").await;
        let client = connect(config(&double)).await;
        double.fail(repeat_n(fault, 2));
        client.encode_query("a text").await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_the_wait() {
    for fault in outages() {
        let double = OllamaDouble::start("0.9.3").await;
        let client = connect(config(&double)).await;
        double.fail(repeat_n(fault, 100_000));
        let time = VirtualTime::start().await;
        let wait = Duration::from_millis(700);
        let deadline = (time.started() + wait).into_std();
        let error = client.embed(request(&["a text"]).with_deadline(deadline)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        // A timer's grain is a millisecond.
        assert!((wait..=wait + Duration::from_millis(1)).contains(&time.passed()), "{:?}", time.passed());
    }
}

/// A proxy that says when to come back says it to the caller, who may wait.
#[tokio::test(start_paused = true)]
async fn what_a_proxy_asks_for_is_handed_on_where_it_is_longer() {
    let double = OllamaDouble::start("0.9.3").await;
    let client = connect(config(&double)).await;
    double.forget();
    double.fail([Fault::Answer {
        status: 502,
        body: String::new(),
        content_type: "text/html",
        retry_after: Some(20),
    }]);
    let time = VirtualTime::start().await;
    let error = client.encode_query("a text").await.unwrap_err();
    assert_eq!(error.retry(), Retry::Temporary { after: Some(Duration::from_secs(20)) });
    assert_eq!((time.passed(), double.requests_for("/api/embed").len()), (Duration::ZERO, 1));
}
