//! What the client costs on top of HTTP: one call against the double, and the same bytes by bare reqwest.

#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

mod common;

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use embed_core::{EmbedRequest, Embedder, Role};
use embed_ollama::{OllamaConfig, OllamaEmbedder};
use embed_testkit::ollama::OllamaDouble;

use common::bare_client;

fn one_call(criterion: &mut Criterion) {
    // The double has a thread of its own, so that its work isn't the client's.
    let servers = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let clients = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for rows in [1, 64] {
        let mut group = criterion.benchmark_group(format!("ollama/one call of {rows}"));
        let double = servers.block_on(OllamaDouble::start("0.12.11"));
        let texts: Vec<String> = (0..rows).map(|row| format!("the text of row {row}")).collect();
        let request = EmbedRequest::new(texts.iter().map(String::as_str), Role::Document);
        let client =
            clients.block_on(OllamaEmbedder::connect(OllamaConfig::new("all-minilm", double.url()))).unwrap();
        // What is measured are answers, not errors.
        let response = clients.block_on(client.embed(request.clone())).unwrap().into_complete().unwrap();
        assert_eq!((response.len(), response.row(0).unwrap().vector().len()), (rows, 384));
        group.bench_function("embed-ollama", |bencher| {
            bencher.iter(|| {
                let response = clients.block_on(client.embed(request.clone())).unwrap();
                black_box(response.row(0).unwrap().vector()[0])
            });
        });
        let bare = bare_client();
        let url = format!("{}/api/embed", double.url());
        let body = serde_json::json!({
            "model": "all-minilm", "input": texts, "truncate": false, "keep_alive": 1800,
        });
        group.bench_function("bare reqwest", |bencher| {
            bencher.iter(|| {
                let bytes = clients.block_on(async {
                    let request = bare.post(&url).header("content-type", "application/json");
                    let response = request.body(body.to_string()).send().await.unwrap();
                    assert!(response.status().is_success());
                    response.bytes().await.unwrap()
                });
                black_box(bytes.len())
            });
        });
        group.finish();
    }
}

criterion_group!(benches, one_call);
criterion_main!(benches);
