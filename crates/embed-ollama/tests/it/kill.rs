//! Real servers that die in the middle of a batch: every row is right or an error, none is another's.

use std::sync::Arc;
use std::time::{Duration, Instant};

use embed_core::{EmbedRequest, EmbedResponse, Embedder, ErrorKind, Role, vector};
use embed_ollama::{OllamaConfig, OllamaEmbedder};
use embed_testkit::ollama::rig::{self, RealServer};

use crate::{connect, request};

const VERSION: &str = "0.5.4";

fn texts(count: usize) -> Vec<String> {
    (0..count).map(|i| format!("report number {i} on the state of the river")).collect()
}

/// A server of its own, and what it says of each text while all is well.
async fn own(count: usize) -> Option<(RealServer, Vec<String>, Vec<Vec<f32>>)> {
    let server = rig::require_exclusive(VERSION)?;
    let client = connect(OllamaConfig::new("all-minilm", server.url())).await;
    let texts = texts(count);
    let response = client.embed(request(&texts)).await.unwrap();
    let vectors = response.rows().map(|row| row.unwrap().vector().to_vec()).collect();
    Some((server, texts, vectors))
}

/// How many rows are there; a foreign one is a failure.
fn good_rows(response: &EmbedResponse, vectors: &[Vec<f32>]) -> usize {
    assert_eq!(response.len(), vectors.len());
    let mut good = 0;
    for (index, (row, expected)) in response.rows().zip(vectors).enumerate() {
        let Ok(row) = row else { continue };
        let cosine = vector::cosine(row.vector(), expected).unwrap();
        assert!(cosine >= 0.9999, "row {index} is foreign: cosine {cosine}");
        good += 1;
    }
    good
}

/// Runs a batch, and something else once a part of it is done.
async fn meanwhile<T>(
    client: &Arc<OllamaEmbedder>,
    request: EmbedRequest,
    disturb: impl FnOnce() -> T + Send + 'static,
) -> (embed_core::Result<EmbedResponse>, T)
where
    T: Send + 'static,
{
    let before = client.stats().requests;
    let call = {
        let client = Arc::clone(client);
        tokio::spawn(async move { client.embed(request).await })
    };
    while client.stats().requests < before + 60 && !call.is_finished() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let disturbed = tokio::task::spawn_blocking(disturb).await.unwrap();
    (call.await.unwrap(), disturbed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_runner_is_killed() {
    let Some((server, texts, vectors)) = own(500).await else {
        return;
    };
    let client = Arc::new(connect(OllamaConfig::new("all-minilm", server.url())).await);
    let server = Arc::new(server);
    let target = Arc::clone(&server);
    let (response, killed) = meanwhile(&client, request(&texts), move || target.signal_runner("KILL")).await;
    killed.unwrap();
    let response = response.unwrap();
    let good = good_rows(&response, &vectors);
    println!("runner killed: {good} of 500 rows, {:?}", client.stats());
    assert_eq!(good, 500);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_is_killed_and_restarted() {
    let Some((server, texts, vectors)) = own(500).await else {
        return;
    };
    // How long the restart takes is the machine's business: what is tested is what comes after it.
    let config = OllamaConfig::new("all-minilm", server.url())
        .with_tries(20)
        .with_longest_outage(Duration::from_secs(60));
    let client = Arc::new(connect(config).await);
    let server = Arc::new(server);
    let target = Arc::clone(&server);
    let restart = move || {
        target.signal_server("KILL")?;
        target.down()?;
        target.up()
    };
    let (response, restarted) = meanwhile(&client, request(&texts), restart).await;
    restarted.unwrap();
    let response = response.unwrap();
    let good = good_rows(&response, &vectors);
    println!("server killed and restarted: {good} of 500 rows, {:?}", client.stats());
    assert_eq!(good, 500);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_is_killed_for_good() {
    let Some((server, texts, vectors)) = own(500).await else {
        return;
    };
    let client = Arc::new(connect(OllamaConfig::new("all-minilm", server.url())).await);
    let server = Arc::new(server);
    let target = Arc::clone(&server);
    let (response, killed) = meanwhile(&client, request(&texts), move || target.signal_server("KILL")).await;
    killed.unwrap();
    let response = response.unwrap();
    let good = good_rows(&response, &vectors);
    println!("server killed for good: {good} of 500 rows");
    assert!((1..500).contains(&good));
    for (_, error) in response.errors() {
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_is_stopped_and_the_deadline_holds() {
    let Some((server, texts, vectors)) = own(500).await else {
        return;
    };
    let client = Arc::new(connect(OllamaConfig::new("all-minilm", server.url())).await);
    let server = Arc::new(server);
    let target = Arc::clone(&server);
    let deadline = Instant::now() + Duration::from_secs(8);
    let request = EmbedRequest::new(texts.iter().map(String::as_str), Role::Document).with_deadline(deadline);
    let (response, stopped) = meanwhile(&client, request, move || target.signal_server("STOP")).await;
    stopped.unwrap();
    // The answer is there while the server is still stopped, so that only the deadline can have brought it.
    server.signal_server("CONT").unwrap();
    let response = response.unwrap();
    let good = good_rows(&response, &vectors);
    println!("server stopped: {good} of 500 rows");
    assert!((1..500).contains(&good));
    for (_, error) in response.errors() {
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error:?}");
    }
    // It goes on as if nothing had been.
    let response = client.embed(crate::request(&texts)).await.unwrap();
    assert_eq!(good_rows(&response, &vectors), 500);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_two_servers_is_killed() {
    let Some((server, texts, vectors)) = own(500).await else {
        return;
    };
    let Some(other) = rig::require(VERSION) else {
        return;
    };
    let config = OllamaConfig::default().with_servers([server.url(), other.url()]);
    let client = Arc::new(connect(config).await);
    let server = Arc::new(server);
    let target = Arc::clone(&server);
    let (response, killed) = meanwhile(&client, request(&texts), move || target.signal_server("KILL")).await;
    killed.unwrap();
    let response = response.unwrap();
    let good = good_rows(&response, &vectors);
    println!("one of two killed: {good} of 500 rows, {:?}", client.stats());
    assert_eq!(good, 500);
}
