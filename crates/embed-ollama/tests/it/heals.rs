//! A server that was left out is back without a call, and a load whose task died isn't the last one.

use std::iter::repeat_n;
use std::time::Duration;

use embed_core::{Embedder, EmbedderExt, HealthStatus};
use embed_testkit::ollama::{Fault, OllamaDouble};

use crate::{connect, quick};

/// More looks than any pause here takes.
const LOOKS: usize = 1000;

async fn is(client: &embed_ollama::OllamaEmbedder, status: HealthStatus) -> bool {
    for _ in 0..LOOKS {
        if client.health().await.status() == status {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    false
}

/// The proxy before the server answers 502 to what embeds, and the server itself is alive all the time.
#[tokio::test]
async fn a_server_that_is_well_again_is_used_without_a_call() {
    let double = OllamaDouble::start("0.9.3").await;
    let mut config = quick(&double);
    config.breaker.failures = 2;
    config.breaker.first_pause = Duration::from_millis(50);
    let client = connect(config).await;
    double.fail(repeat_n(Fault::Error(502, "bad gateway".into()), 1000));
    client.encode_query("a text").await.unwrap_err();
    assert!(client.servers()[0].ejected);
    let health = client.health().await;
    assert_eq!(health.status(), HealthStatus::Unavailable, "it is alive and doesn't embed");
    assert!(health.reason().unwrap().to_string().contains("left out"), "{:?}", health.reason());
    double.heal();
    assert!(is(&client, HealthStatus::Ready).await, "it is left out for ever");
    assert!(!client.servers()[0].ejected);
    assert_eq!(client.stats().returns, 1);
}

/// One of two: the other one serves, and the health still gets it back.
#[tokio::test]
async fn one_of_several_is_back_without_a_call() {
    let (first, second) = (OllamaDouble::start("0.9.3").await, OllamaDouble::start("0.9.3").await);
    let mut config = quick(&first).with_servers([first.url(), second.url()]);
    config.breaker.failures = 1;
    config.breaker.first_pause = Duration::from_millis(50);
    let client = connect(config).await;
    second.fail(repeat_n(Fault::Error(502, "bad gateway".into()), 1000));
    for i in 0..LOOKS {
        client.encode_query(&format!("text {i}")).await.unwrap();
        if client.servers()[1].ejected {
            break;
        }
    }
    assert_eq!(client.health().await.status(), HealthStatus::Degraded);
    second.heal();
    assert!(is(&client, HealthStatus::Ready).await, "it is left out for ever");
}

/// The runtime in which a load went on is gone; the client lives on in another one.
#[test]
fn a_load_whose_runtime_died_is_begun_anew() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // The server lives in a runtime of its own.
    let servers = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let double = servers.block_on(OllamaDouble::start("0.9.3"));
    let first = runtime();
    let client = first.block_on(async {
        let mut config = quick(&double);
        // Nothing stays loaded for the client, so that each call begins by a load.
        config.keep_alive = Some(embed_ollama::KeepAlive::Seconds(1));
        connect(config).await
    });
    double.change(|script| script.load_time = Duration::from_secs(3600));
    double.unload();
    first.block_on(async {
        tokio::time::sleep(Duration::from_millis(1100)).await;
        let loads = double.loads();
        tokio::select! {
            _ = client.encode_query("a text") => panic!("the model can't be loaded"),
            () = async { while double.loads() == loads { tokio::task::yield_now().await } } => {}
        }
    });
    drop(first);
    double.change(|script| script.load_time = Duration::ZERO);
    double.unload();
    let second = runtime();
    second.block_on(async { client.encode_query("a text").await }).unwrap();
    drop(second);
    drop(double);
}
