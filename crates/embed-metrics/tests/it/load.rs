//! Synthetic traffic that touches every series used by a query of the docs.

use std::time::Duration;

use embed_core::{
    EmbedRequest, EmbedResponse, Embedder, Error, ErrorKind, Health, ModelInfo, Result, Role, Truncation,
    async_trait,
};
use embed_metrics::{
    BreakerFigures, BreakerState, CacheFigures, E5Figures, GatewayMetrics, Metered, Metrics, OllamaFigures,
    RolloutFigures, RouteFigures, RouterFigures, SideFigures, TierFigures,
};
use embed_testkit::Scripted;

use crate::{e5, model, ollama};

pub(crate) struct Load {
    metrics: Metrics,
    gateway: GatewayMetrics,
    services: Vec<Metered<HalfCached<Metered<Scripted>>>>,
    turns: u64,
}

impl Load {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let services = [ollama(), e5()].map(|service| {
            service.fail_texts_with("bad", Error::new(ErrorKind::Unavailable, "gone"));
            Metered::new(HalfCached(Metered::backend(service, metrics)), metrics)
        });
        metrics.model_loaded(&model("e5", "multilingual-e5-small"), Duration::from_millis(700));
        Self { metrics: metrics.clone(), gateway: metrics.gateway(), services: services.into(), turns: 0 }
    }

    /// A little of everything.
    pub(crate) async fn turn(&mut self) {
        self.turns += 1;
        let long = "word ".repeat(40);
        for service in &self.services {
            let request = self.gateway.request("openai");
            drop(self.gateway.wait());
            let texts =
                EmbedRequest::new(["one", "two", "bad", &long], Role::Query).with_truncation(Truncation::End);
            service.embed(texts).await.unwrap();
            service.health().await;
            request.answered(200);
            self.gateway.request("ollama").answered(429);
        }
        self.metrics.space_mismatch();
        self.observe(self.turns * 10);
    }

    fn observe(&self, n: u64) {
        let tier = |tier| TierFigures {
            tier,
            hits: n,
            misses: vec![("absent", n), ("timeout", n)],
            stored: n,
            unstored: vec![("queue_full", n)],
            entries: Some(n),
            bytes: Some(n),
            limit: Some(1 << 20),
            evicted: n,
            expired: n,
        };
        let tiers = vec![tier("memory"), tier("redis")];
        self.metrics.observe_cache(&CacheFigures { tiers, computed: n, joined: n, unfit: n });
        let route = |route| RouteFigures {
            route,
            texts: vec![("kana", n), ("forced", n)],
            calls: 2 * n,
            failed_calls: n,
            refused_calls: n,
        };
        let side = SideFigures {
            calls: n,
            failed: n / 2,
            error_ratio: 0.5,
            percentiles: [Duration::from_millis(5); 3],
        };
        self.metrics.observe_router(&RouterFigures {
            routes: vec![route("ollama"), route("e5")],
            unread: n,
            failovers_same_space: n,
            failovers_other_space: n,
            rollout: Some(RolloutFigures {
                share: 0.1,
                stopped: false,
                moved: n,
                current: side,
                candidate: side,
                sampled: n,
                dropped: n,
                compared: n,
                cosine: Some((0.99, 0.9)),
                overlap: Some(0.8),
            }),
        });
        self.metrics.observe_breakers(&[
            BreakerFigures { part: "route_ollama", state: BreakerState::Open, openings: n },
            BreakerFigures { part: "tier_redis", state: BreakerState::Closed, openings: 0 },
        ]);
        self.metrics.observe_ollama(&OllamaFigures {
            pool_size: 10,
            requests: n,
            loads: n,
            long_waits: n,
            retries_connection: n,
            retries_crash: n,
            retries_busy: n,
            retries_rows: n,
            retries_other: n,
            bisections: n,
            duplicates: n,
            failed_texts: n,
            bad_rows: n,
            shared_vectors: n,
            identity_checks: n,
            refused_servers: n,
            new_variants: n,
            ejections: n,
            returns: n,
            unknown_versions: n,
        });
        self.metrics.observe_e5(&E5Figures { threads: 2, prefixed_texts: n });
    }
}

/// Marks every second row as read from a tier.
#[derive(Debug)]
struct HalfCached<E>(E);

#[async_trait]
impl<E: Embedder> Embedder for HalfCached<E> {
    fn model(&self) -> &ModelInfo {
        self.0.model()
    }

    async fn embed(&self, request: EmbedRequest) -> Result<EmbedResponse> {
        let answer = self.0.embed(request).await?;
        let mut response = EmbedResponse::builder(answer.len(), self.model().dimension());
        for (index, row) in answer.rows().enumerate() {
            match row {
                Ok(row) => {
                    let mut info = row.info().clone();
                    info.tier = (index % 2 == 0).then(|| "memory".into());
                    response.put(index, row.vector(), info);
                }
                Err(error) => response.fail(index, error.clone()),
            }
        }
        Ok(response.build())
    }

    async fn health(&self) -> Health {
        self.0.health().await
    }
}
