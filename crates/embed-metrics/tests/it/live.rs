//! A real Prometheus scrapes a service, and every query of the docs returns data.

use std::sync::Arc;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use embed_metrics::Metrics;
use embed_testkit::prometheus::Prometheus;
use tokio::sync::Mutex;

use crate::{load, metrics};

/// `host:port` of a running service with traffic, whose `/metrics` is scraped instead of synthetic load.
const TARGET: &str = "EMBED_METRICS_TARGET";

#[tokio::test(flavor = "multi_thread")]
async fn every_query_gives_data() {
    let target = match std::env::var(TARGET) {
        Ok(target) if !target.is_empty() => target,
        _ => serve(metrics()).await,
    };
    let Some(prometheus) = Prometheus::require(&target) else { return };
    prometheus.gives_data_to_every_query().await;
}

/// A service with a little more traffic at each scrape.
async fn serve(metrics: Metrics) -> String {
    let load = Arc::new(Mutex::new(load::Load::new(&metrics)));
    let page = move || {
        let (load, metrics) = (Arc::clone(&load), metrics.clone());
        async move {
            load.lock().await.turn().await;
            ([(CONTENT_TYPE, Metrics::CONTENT_TYPE)], metrics.render())
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/metrics", get(page))).await });
    address.to_string()
}
