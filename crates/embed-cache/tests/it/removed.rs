//! Removed rows stay removed, whatever writes are queued or in flight.

use std::time::Duration;

use embed_cache::{CacheConfig, Cached};
use embed_core::Embedder;
use embed_testkit::Scripted;

use crate::double::{MapTier, Mood, cache, documents, right, sources, with_config};

const TEXTS: [&str; 6] = ["one", "two", "three", "four", "five", "six"];

/// Longer than all queued writes take together.
const LATER: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn queued_rows_are_not_stored_after_their_removal() {
    for whole in [false, true] {
        let tier = MapTier::remote("slow");
        tier.set(Mood::Well, Mood::Slow(Duration::from_millis(600)));
        let cached = Cached::new(Scripted::new("model", 8), cache(&[&tier]));
        for text in TEXTS {
            right(&cached, &[text]).await;
        }
        if whole {
            cached.clear_cache().await.unwrap();
        } else {
            cached.invalidate(&TEXTS).await.unwrap();
        }
        assert_eq!(tier.len(), 0);
        tokio::time::sleep(LATER).await;
        assert_eq!(tier.len(), 0, "they came back");
        // Rows requested later are stored.
        right(&cached, &["one"]).await;
        cached.cache().flush(LATER).await.unwrap();
        assert_eq!(tier.len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn other_rows_are_still_stored() {
    let tier = MapTier::remote("slow");
    tier.set(Mood::Well, Mood::Slow(Duration::from_millis(600)));
    let cached = Cached::new(Scripted::new("model", 8), cache(&[&tier]));
    right(&cached, &TEXTS).await;
    cached.invalidate(&TEXTS[..2]).await.unwrap();
    cached.cache().flush(LATER).await.unwrap();
    right(&cached, &["seven"]).await;
    cached.cache().flush(LATER).await.unwrap();
    assert_eq!(sources(&right(&cached, &TEXTS).await), ["", "", "slow", "slow", "slow", "slow"]);
}

/// A write in flight can't be revoked: the removal waits for it, and reports it if it takes too long.
#[tokio::test(start_paused = true)]
async fn a_write_that_does_not_end_is_reported() {
    let tier = MapTier::remote("stuck");
    tier.set(Mood::Well, Mood::Hangs);
    let config = CacheConfig::default().with_write_budget(Duration::from_secs(3600));
    let cached = Cached::new(Scripted::new("model", 8), with_config(config, &[&tier]));
    right(&cached, &["one"]).await;
    tokio::task::yield_now().await;
    let error = cached.invalidate(&["one"]).await.unwrap_err();
    assert!(error.to_string().contains("remove them again"), "{error}");
}

/// A call that began before the removal returns the row to its caller but doesn't store it.
#[tokio::test(start_paused = true)]
async fn a_call_that_began_before_stores_nothing() {
    let (memory, remote) = (MapTier::local("memory"), MapTier::remote("remote"));
    let service = Scripted::new("model", 8);
    let cached = std::sync::Arc::new(Cached::new(service.clone(), cache(&[&memory, &remote])));
    service.hold();
    let caller = std::sync::Arc::clone(&cached);
    let call = tokio::spawn(async move { caller.embed(documents(["one"])).await });
    service.begun(1).await;
    cached.invalidate(&["one"]).await.unwrap();
    service.release();
    call.await.unwrap().unwrap().into_complete().unwrap();
    cached.cache().flush(LATER).await.unwrap();
    assert_eq!((memory.len(), remote.len()), (0, 0));
}
