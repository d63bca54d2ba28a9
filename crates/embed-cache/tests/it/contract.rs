//! The contract of every embedder, through the cache, cold and warm.

use std::sync::Arc;

use embed_cache::Cached;
use embed_core::{ModelInfo, Space, Variant};
use embed_testkit::{Scripted, contract};

use crate::double::{MapTier, cache};

fn service() -> Scripted {
    let variant = Variant::new(Space::builder("scripted", 8).build(), [("v", "1")]);
    Scripted::of_model(ModelInfo::builder("scripted", "scripted", variant).max_tokens(64).build())
}

#[tokio::test]
async fn behind_two_tiers() {
    let (memory, remote) = (MapTier::local("memory"), MapTier::remote("remote"));
    let cached = Arc::new(Cached::new(service(), cache(&[&memory, &remote])));
    contract::check(Arc::clone(&cached) as _).await;
    contract::check(cached).await;
}

#[tokio::test]
async fn behind_no_tier() {
    contract::check(Arc::new(Cached::new(service(), cache(&[])))).await;
}

#[tokio::test]
async fn behind_a_remote_tier_alone() {
    let cached = Arc::new(Cached::new(service(), cache(&[&MapTier::remote("remote")])));
    contract::check(Arc::clone(&cached) as _).await;
    contract::check(cached).await;
}

#[tokio::test]
async fn a_cache_in_a_cache() {
    let inner = Cached::new(service(), cache(&[&MapTier::local("inner")]));
    contract::check(Arc::new(Cached::new(inner, cache(&[&MapTier::local("outer")])))).await;
}

#[test]
fn the_stack_has_a_name() {
    let tiers = [&MapTier::local("memory"), &MapTier::remote("redis")];
    assert_eq!(Cached::new(service(), cache(&tiers)).to_string(), "Cached(memory, redis → scripted)");
}
