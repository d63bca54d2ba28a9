//! The overhead of the router compared with the bare service, which answers at once.

#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use embed_core::{
    EmbedRequest, EmbedResponse, Embedder, Health, ModelInfo, Result, Role, RowInfo, Space, Variant,
    async_trait,
};
use embed_router::{
    Detection, Detector, Kind, PinBook, Policy, RolloutConfig, Route, Router, RouterConfig, ShadowConfig,
};
use tokio::runtime::{Builder, Runtime};

/// The same vector for every text, with the dimension of the two models.
#[derive(Debug)]
struct Instant {
    model: ModelInfo,
    vector: Vec<f32>,
    /// How long it takes to answer, like a server.
    wait: Duration,
}

impl Instant {
    fn new(space: &str) -> Arc<Self> {
        let variant = Variant::new(Space::builder(space, 384).build(), [("digest", "1")]);
        let model = ModelInfo::builder("instant", space, variant).build();
        Arc::new(Self { model, vector: vec![0.05; 384], wait: Duration::ZERO })
    }

    fn waiting(space: &str, wait: Duration) -> Arc<Self> {
        let instant = Arc::into_inner(Self::new(space)).unwrap();
        Arc::new(Self { wait, ..instant })
    }
}

#[async_trait]
impl Embedder for Instant {
    fn model(&self) -> &ModelInfo {
        &self.model
    }

    async fn embed(&self, request: EmbedRequest) -> Result<EmbedResponse> {
        if !self.wait.is_zero() {
            tokio::time::sleep(self.wait).await;
        }
        let mut response = EmbedResponse::builder(request.texts().len(), self.vector.len());
        for row in 0..request.texts().len() {
            response.put(row, &self.vector, RowInfo::new(self.model.clone()));
        }
        Ok(response.build())
    }

    async fn health(&self) -> Health {
        Health::ready()
    }
}

/// A minimal detector.
#[derive(Debug)]
struct FirstByte;

impl Detector for FirstByte {
    fn detect(&self, text: &str) -> Detection {
        let kind = if text.as_bytes().first().is_some_and(u8::is_ascii) { Kind::En } else { Kind::Ja };
        Detection::new(kind, "en", 1.0, "first byte")
    }
}

fn router(config: RouterConfig) -> Router {
    let routes = [("ollama", "a"), ("e5", "b"), ("new", "a")];
    let routes = routes.map(|(name, space)| Route::new(name, Instant::new(space)));
    Router::new(routes, Arc::new(FirstByte), config).unwrap()
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap()
}

fn one_text(criterion: &mut Criterion) {
    let runtime = runtime();
    let mut group = criterion.benchmark_group("router/one text");
    let mut measure = |name: &str, embedder: &dyn Embedder, request: EmbedRequest| {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let response = runtime.block_on(embedder.embed(request.clone())).unwrap();
                black_box(response.row(0).unwrap().vector()[0])
            });
        });
    };
    let request = EmbedRequest::new(["database query optimization"], Role::Query);
    measure("bare service", &*Instant::new("a"), request.clone());
    let hybrid = router(RouterConfig::default());
    measure("forced route", &hybrid, request.clone().with_route("ollama"));
    let pins: PinBook = [("tenant", "ollama")].into_iter().collect();
    measure(
        "pinned partition",
        &router(RouterConfig::default().with_pins(pins)),
        request.clone().with_partition("tenant"),
    );
    measure("policy, trivial detector", &hybrid, request.clone());
    let alone = [Route::new("ollama", Instant::new("a"))];
    let config = RouterConfig::default().with_policy(Policy::everything_to("ollama"));
    measure(
        "one route, no fallback",
        &Router::new(alone, Arc::new(FirstByte), config).unwrap(),
        request.clone(),
    );
    let rollout = RolloutConfig::new("ollama", "new").with_percentage(100);
    let moved = router(RouterConfig::default().with_rollout(rollout.clone()));
    measure("rollout, moved partition", &moved, request.clone().with_partition("tenant"));
    measure("rollout, no partition", &moved, request.clone());
    let shadow = ShadowConfig::default().with_share(1.0);
    let trial = router(RouterConfig::default().with_rollout(rollout.with_percentage(0).with_shadow(shadow)));
    measure("shadow at 100 %", &trial, request);
    group.finish();
}

fn batches(criterion: &mut Criterion) {
    let runtime = runtime();
    let mut group = criterion.benchmark_group("router/300 texts");
    let english: Vec<String> = (0..300).map(|row| format!("text number {row}")).collect();
    let mixed: Vec<String> = (0..300)
        .map(|row| if row % 2 == 0 { format!("text {row}") } else { format!("文章 {row}") })
        .collect();
    let router = router(RouterConfig::default());
    let bare = Instant::new("a");
    let cases: [(&str, &dyn Embedder, &[String]); 3] = [
        ("bare service", &*bare, &english),
        ("one route", &router, &english),
        ("two routes", &router, &mixed),
    ];
    for (name, embedder, texts) in cases {
        let request = EmbedRequest::new(texts.iter().map(String::as_str), Role::Document);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                black_box(
                    runtime.block_on(embedder.embed(request.clone())).unwrap().into_complete().unwrap().len(),
                )
            });
        });
    }
    group.finish();
}

/// The effect of trials on a caller, except for the processor time of a candidate in the same process.
fn trials(criterion: &mut Criterion) {
    let runtime = runtime();
    let mut group = criterion.benchmark_group("router/a server of 5 ms");
    let (quick, hanging) = (Duration::from_millis(5), Duration::from_secs(3600));
    for (name, share, candidate) in [
        ("no trials", 0.0, quick),
        ("trials of every call", 1.0, quick),
        ("a hanging candidate", 1.0, hanging),
    ] {
        let routes = [
            Route::new("old", Instant::waiting("a", quick)),
            Route::new("new", Instant::waiting("a", candidate)),
        ];
        // So long that the candidate isn't stopped during the measurement.
        let shadow = ShadowConfig::default().with_share(share).with_candidate(2, Duration::from_secs(600));
        let rollout = RolloutConfig::new("old", "new").with_shadow(shadow);
        let config = RouterConfig::default().with_policy(Policy::everything_to("old")).with_rollout(rollout);
        let router = Router::new(routes, Arc::new(FirstByte), config).unwrap();
        let request = EmbedRequest::new(["database query optimization"], Role::Query);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                black_box(
                    runtime.block_on(router.embed(request.clone())).unwrap().into_complete().unwrap().len(),
                )
            });
        });
    }
    group.finish();
}

criterion_group!(benches, one_text, batches, trials);
criterion_main!(benches);
