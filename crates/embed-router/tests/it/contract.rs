//! The contract of all embedders, through the router.

use std::sync::Arc;

use embed_core::{Embedder, EmbedderExt};
use embed_router::{Route, Router, RouterConfig};
use embed_testkit::contract;

use crate::support::{Letters, Rig, all_to};

#[tokio::test]
async fn one_route_keeps_the_contract() {
    contract::check(Rig::new(&[("e5", "e5")], all_to("e5")).router).await;
}

#[tokio::test]
async fn two_spaces_keep_the_contract() {
    contract::check(Rig::hybrid(RouterConfig::default()).router).await;
}

#[tokio::test]
async fn fallbacks_keep_the_contract() {
    let routes = [("ollama", "minilm"), ("ollama-2", "minilm"), ("e5", "e5"), ("e5-2", "e5")];
    contract::check(Rig::new(&routes, RouterConfig::default().with_cross_space(true)).router).await;
}

/// A router is an embedder like any other, even for another router.
#[tokio::test]
async fn a_router_in_a_router_keeps_the_contract() {
    let inner: Arc<dyn Embedder> = Rig::hybrid(RouterConfig::default()).router;
    let route = Route::new("all", Arc::clone(&inner));
    let outer = Router::new([route], Arc::new(Letters), all_to("all")).unwrap();
    let row = outer.encode_query("words").await.unwrap();
    assert_eq!(row.info().route.as_deref(), Some("all"), "the outermost router names its own route");
    assert_eq!(outer.to_string(), "Router(all → scripted/e5)");
    contract::check(Arc::new(outer)).await;
}
