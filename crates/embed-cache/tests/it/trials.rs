//! A tier whose breaker is open is used again without a request, and reports why it isn't used.

use std::time::Duration;

use embed_cache::Cached;
use embed_core::{Embedder, ErrorKind, HealthStatus};
use embed_testkit::Scripted;

use crate::double::{MapTier, Mood, cache, right, sources};

/// Longer than the longest pause of a breaker.
const PAUSE: Duration = Duration::from_secs(6);

#[tokio::test(start_paused = true)]
async fn a_tier_that_is_back_is_used_again_without_a_request() {
    let tier = MapTier::remote("remote");
    let cached = Cached::new(Scripted::new("model", 8), cache(&[&tier]));
    tier.set(Mood::Fails(ErrorKind::Unavailable), Mood::Fails(ErrorKind::Overloaded));
    for turn in 0..20 {
        right(&cached, &[&format!("text {turn}")]).await;
    }
    cached.cache().flush(PAUSE).await.unwrap();
    let report = cached.stats().await.tiers.remove(0);
    assert!(report.is_open && report.is_write_open);
    assert_eq!(report.openings, 2);
    let faults = [report.read_fault, report.write_fault];
    assert_eq!(faults.map(|fault| fault.unwrap()), ["the tier was told to fail"; 2]);
    assert_eq!(cached.health().await.status(), HealthStatus::Degraded);

    tier.set(Mood::Well, Mood::Well);
    assert_eq!(cached.health().await.status(), HealthStatus::Degraded, "its pause isn't over");
    tokio::time::sleep(PAUSE).await;
    assert_eq!(cached.health().await.status(), HealthStatus::Ready);
    let report = cached.cache().counted().tiers.remove(0);
    assert!(!report.is_open && !report.is_write_open);
    assert_eq!((report.read_fault, report.write_fault), (None, None));
    assert_eq!(tier.len(), 0, "a trial leaves nothing behind");
    right(&cached, &["text 1"]).await;
    cached.cache().flush(PAUSE).await.unwrap();
    assert_eq!(sources(&right(&cached, &["text 1"]).await), ["remote"]);
}

/// A scrape doesn't query what Redis holds, which would cost commands.
#[tokio::test]
async fn counts_do_not_query_a_tier() {
    let (memory, remote) = (MapTier::local("memory"), MapTier::remote("remote"));
    let cached = Cached::new(Scripted::new("model", 8), cache(&[&memory, &remote]));
    right(&cached, &["one", "two"]).await;
    cached.cache().flush(PAUSE).await.unwrap();
    let entries = |stats: embed_cache::CacheStats| {
        stats.tiers.iter().map(|tier| tier.holds.and_then(|holds| holds.entries)).collect::<Vec<_>>()
    };
    assert_eq!(entries(cached.cache().counted()), [Some(2), None]);
    assert_eq!(entries(cached.stats().await), [Some(2), Some(2)]);
    right(&cached, &["three"]).await;
    cached.cache().flush(PAUSE).await.unwrap();
    assert_eq!(entries(cached.cache().counted()), [Some(3), Some(2)]);
    assert_eq!(cached.cache().counted().tiers[1].stored, 3);
}
