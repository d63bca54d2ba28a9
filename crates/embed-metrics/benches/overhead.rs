//! The overhead of recording: a service that answers at once, with and without `Metered`.

#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use embed_core::{
    EmbedRequest, EmbedResponse, Embedder, Health, ModelInfo, Result, Role, RowInfo, Space, TokenCount,
    Variant, async_trait,
};
use embed_metrics::{Metered, Metrics, MetricsConfig};
use futures::executor::block_on;

/// A service that returns a prepared response.
#[derive(Debug)]
struct Ready {
    model: ModelInfo,
    response: EmbedResponse,
}

impl Ready {
    fn new(rows: usize) -> Self {
        let variant = Variant::new(Space::builder("multilingual-e5-small", 2).build(), [("weights", "1")]);
        let model = ModelInfo::builder("e5", "multilingual-e5-small", variant).build();
        let mut response = EmbedResponse::builder(rows, 2);
        for row in 0..rows {
            let info = RowInfo::new(model.clone()).with_tokens(TokenCount { used: 9, total: 9 });
            response.put(row, &[0.6, 0.8], info);
        }
        Self { model, response: response.build() }
    }
}

#[async_trait]
impl Embedder for Ready {
    fn model(&self) -> &ModelInfo {
        &self.model
    }

    async fn embed(&self, _: EmbedRequest) -> Result<EmbedResponse> {
        Ok(self.response.clone())
    }

    async fn health(&self) -> Health {
        Health::ready()
    }
}

fn metrics() -> Metrics {
    let config = MetricsConfig::default()
        .with_model("ollama", "all-minilm")
        .with_model("e5", "multilingual-e5-small")
        .with_routes(["ollama", "e5"]);
    Metrics::new(config).unwrap()
}

fn call(service: &dyn Embedder, request: &EmbedRequest) {
    black_box(block_on(service.embed(request.clone())).unwrap());
}

fn overhead(c: &mut Criterion) {
    let metrics = metrics();
    for texts in [1, 32] {
        let request = EmbedRequest::new(vec!["富士山の高さ"; texts], Role::Query);
        let mut group = c.benchmark_group(format!("metrics/call of {texts}"));
        group.throughput(Throughput::Elements(1));
        let bare = Ready::new(texts);
        group.bench_function("bare service", |b| b.iter(|| call(&bare, &request)));
        let callers = Metered::new(Ready::new(texts), &metrics);
        group.bench_function("Metered, for callers", |b| b.iter(|| call(&callers, &request)));
        let backend = Metered::backend(Ready::new(texts), &metrics);
        group.bench_function("Metered, for a back end", |b| b.iter(|| call(&backend, &request)));
        group.finish();
    }
    assert!(metrics.render().contains("tmws_embedding_requests_total"), "the rendered metrics have values");
    c.bench_function("metrics/render", |b| b.iter(|| black_box(metrics.render())));
}

criterion_group!(benches, overhead);
criterion_main!(benches);
