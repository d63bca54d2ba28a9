//! Several servers: least to do, ejection and return, the same vectors or none.

use std::time::Duration;

use embed_core::{Embedder, EmbedderExt, ErrorKind, HealthStatus};
use embed_ollama::{OllamaConfig, OllamaEmbedder, Upgrade};
use embed_testkit::VirtualTime;
use embed_testkit::ollama::OllamaDouble;
use futures::future::join_all;

use crate::{connect, request, rows_are_right, texts};

fn both(first: &OllamaDouble, second: &OllamaDouble) -> OllamaConfig {
    let pause = Duration::from_millis(50);
    let breaker = OllamaConfig::default().breaker;
    let breaker = breaker.with_failures(2).with_pauses(pause, breaker.longest_pause);
    OllamaConfig::new("all-minilm", first.url())
        .with_servers([first.url(), second.url()])
        .with_pauses(Duration::from_millis(5), Duration::from_millis(20))
        .with_max_batch_rows(10)
        .with_breaker(breaker)
}

#[tokio::test]
async fn the_work_is_shared() {
    let (first, second) = (OllamaDouble::start("0.9.3").await, OllamaDouble::start("0.5.4").await);
    let client = connect(both(&first, &second)).await;
    let texts = texts(200);
    let response = client.embed(request(&texts)).await.unwrap();
    rows_are_right(&first, &response, &texts).unwrap();
    assert!(first.texts() > 20 && second.texts() > 20, "{} and {}", first.texts(), second.texts());
    assert!(second.most_in_flight() <= 1, "an old server gets one text at a time, whatever the other gets");
}

#[tokio::test]
async fn one_dies_and_no_row_is_lost_and_it_returns() {
    let (first, second) = (OllamaDouble::start("0.9.3").await, OllamaDouble::start("0.9.3").await);
    let port = second.port();
    let client = connect(both(&first, &second)).await;
    for double in [&first, &second] {
        double.change(|script| script.embed_time = Duration::from_micros(500));
    }
    let texts = texts(300);
    let before = second.requests().len();
    let die = async {
        second.reached(before + 3).await;
        drop(second);
    };
    let (response, ()) = tokio::join!(client.embed(request(&texts)), die);
    rows_are_right(&first, &response.unwrap(), &texts).unwrap();
    // It goes on without it.
    for _ in 0..5 {
        client.embed(request(&texts)).await.unwrap().into_complete().unwrap();
    }
    assert!(client.stats().ejections >= 1);
    assert!(client.servers()[1].ejected);
    let health = client.health().await;
    assert_eq!(health.status(), HealthStatus::Degraded);

    let second = OllamaDouble::start_at("0.9.3", port).await;
    for _ in 0..200 {
        client.embed(request(&texts)).await.unwrap().into_complete().unwrap();
        if second.texts() > 0 && !client.servers()[1].ejected {
            break;
        }
    }
    assert!(second.texts() > 0, "it never came back");
    assert!(client.stats().returns >= 1);
    assert_eq!(client.health().await.status(), HealthStatus::Ready);
}

#[tokio::test]
async fn servers_of_other_vectors_are_refused() {
    let (first, second) = (OllamaDouble::start("0.9.3").await, OllamaDouble::start("0.9.3").await);
    second.change(|script| script.drift = 0.1);
    let error = OllamaEmbedder::connect(both(&first, &second)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SpaceMismatch);
    assert!(error.to_string().contains(&second.port().to_string()), "{error}");
}

#[tokio::test]
async fn one_server_is_enough_to_begin() {
    let (first, second) = (OllamaDouble::start("0.9.3").await, OllamaDouble::start("0.9.3").await);
    let port = first.port();
    let config = both(&first, &second);
    drop(first);
    let client = connect(config).await;
    client.encode_query("a text").await.unwrap();
    assert_eq!(client.health().await.status(), HealthStatus::Degraded);
    let first = OllamaDouble::start_at("0.9.3", port).await;
    for i in 0..200 {
        client.encode_query(&format!("text {i}")).await.unwrap();
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert!(first.texts() > 0, "the missing server was never asked");
}

/// One of two is upgraded: it waits until no other gives the old vectors, then both are new.
#[tokio::test]
async fn a_rolling_upgrade_becomes_a_new_variant() {
    let (first, second) = (OllamaDouble::start("0.9.3").await, OllamaDouble::start("0.9.3").await);
    let (port_one, port_two) = (first.port(), second.port());
    let mut config = both(&first, &second);
    config.upgrade = Upgrade::NewVariant;
    let client = connect(config).await;
    let old = client.model().variant().clone();
    let upgraded = |port| async move {
        let double = OllamaDouble::start_at("0.12.11", port).await;
        double.change(|script| script.drift = 0.1);
        double
    };
    drop(first);
    let _first = upgraded(port_one).await;
    let texts = texts(50);
    for _ in 0..20 {
        let response = client.embed(request(&texts)).await.unwrap();
        rows_are_right(&second, &response, &texts).unwrap();
        assert_eq!(response.row(0).unwrap().info().model.variant(), &old);
    }
    assert!(client.stats().refused_servers > 0);
    drop(second);
    let _second = upgraded(port_two).await;
    let mut last = None;
    for _ in 0..200 {
        if let Ok(response) =
            client.embed(request(&texts)).await.and_then(embed_core::EmbedResponse::into_complete)
        {
            let variants: Vec<_> =
                response.rows().flatten().map(|row| row.info().model.variant().clone()).collect();
            assert!(variants.iter().all(|variant| variant.space() == old.space()));
            last = variants.into_iter().next_back();
            if last.as_ref() != Some(&old) && client.servers().iter().all(|server| !server.ejected) {
                break;
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(last.is_some_and(|last| last != old && last.id().contains("server=0.12.11")));
    assert!(client.stats().new_variants >= 1);
}

#[tokio::test]
async fn calls_at_once_share_one_handshake_with_a_returning_server() {
    let (first, second) = (OllamaDouble::start("0.9.3").await, OllamaDouble::start("0.9.3").await);
    let client = connect(both(&first, &second)).await;
    let checks = client.stats().identity_checks;
    let calls = (0..50).map(|_| client.encode_query("a text"));
    for result in join_all(calls).await {
        result.unwrap();
    }
    assert_eq!(client.stats().identity_checks, checks);
}

/// Hundreds of texts that no server is left for fail soon, all of them, and the ones before stand.
#[tokio::test(start_paused = true)]
async fn a_server_that_is_gone_for_good_ends_the_call_soon() {
    for version in ["0.5.4", "0.9.3"] {
        let double = OllamaDouble::start(version).await;
        double.change(|script| script.embed_time = Duration::from_millis(5));
        let config = OllamaConfig::new("all-minilm", double.url()).with_max_batch_rows(5);
        let client = connect(config).await;
        let texts = texts(500);
        let before = double.requests().len();
        let gone = async {
            double.reached(before + 30).await;
            drop(double);
        };
        let time = VirtualTime::start().await;
        let (response, ()) = tokio::join!(client.embed(request(&texts)), gone);
        let response = response.unwrap();
        let failed = response.errors().count();
        assert!((1..500).contains(&failed));
        for (_, error) in response.errors() {
            assert_eq!(error.kind(), ErrorKind::Unavailable);
        }
        assert!(time.passed() < Duration::from_secs(30), "{version}: {:?}", time.passed());
    }
}
