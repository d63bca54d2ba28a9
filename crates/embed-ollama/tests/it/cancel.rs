//! Dropped calls leave nothing behind.

use std::time::Duration;

use embed_core::Embedder;
use embed_testkit::ollama::{Fault, OllamaDouble};
use futures::future::join_all;
use tokio::time::timeout;

use crate::{connect, quick, request, rows_are_right, texts};

/// A step that shares no factor with the number of moments visits all of them, in a mixed order.
fn moment(i: u64) -> Duration {
    Duration::from_micros((i * 7919) % 6007)
}

#[tokio::test]
async fn a_thousand_dropped_calls_free_permits_and_connections() {
    for version in ["0.5.4", "0.9.3"] {
        let double = OllamaDouble::start(version).await;
        // Client and server share this thread: beside other tests on a busy machine even a connection may take seconds.
        let mut config = quick(&double);
        config.connect_timeout = Duration::from_secs(60);
        let client = connect(config).await;
        let pool = client.free_permits();
        double.change(|script| script.embed_time = Duration::from_micros(300));
        // Calls are dropped while they wait for a permit, for an answer, between tries, and in a bisection.
        let mut dropped = 0;
        for round in 0..50_u64 {
            if round % 5 == 0 {
                double.fail([Fault::crash(version), Fault::Cut(40), Fault::Error(429, "slow down".into())]);
            }
            let calls =
                (0..20).map(|i| {
                    let texts = texts(1 + (i % 7) * 3);
                    let client = &client;
                    async move {
                        timeout(moment(round * 20 + i as u64), client.embed(request(&texts))).await.is_err()
                    }
                });
            dropped += join_all(calls).await.into_iter().filter(|dropped| *dropped).count();
        }
        assert!(dropped > 500, "only {dropped} calls were dropped");
        double.heal();
        double.change(|script| script.embed_time = Duration::ZERO);
        assert_eq!(client.servers()[0].outstanding, 0);
        // A load that runs on its own may hold permits for a moment.
        timeout(Duration::from_secs(5), async {
            while client.free_permits() != pool {
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("a permit was lost");
        let texts = texts(400);
        let calls = (0..8).map(|_| client.embed(request(&texts)));
        for response in join_all(calls).await {
            rows_are_right(&double, &response.unwrap(), &texts).unwrap();
        }
        assert_eq!(client.free_permits(), pool);
    }
}
