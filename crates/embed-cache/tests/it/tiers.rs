//! Tiers that fail, hang, or lose or corrupt entries: a counted miss, never an error, and never slow for long.

use std::time::Duration;

use embed_cache::{CacheConfig, Cached, Value};
use embed_core::{BreakerConfig, Embedder, Error, ErrorKind, HealthStatus};
use embed_testkit::{Scripted, VirtualTime};

use crate::double::{MapTier, Mood, cache, documents, right, sources, with_config};

const SOON: Duration = Duration::from_secs(5);

#[tokio::test]
async fn rows_come_from_the_fastest_tier_that_has_them() {
    let (memory, remote) = (MapTier::local("memory"), MapTier::remote("redis"));
    let service = Cached::new(Scripted::new("e5", 8), cache(&[&memory, &remote]));
    right(&service, &["a", "b"]).await;
    service.cache().flush(SOON).await.unwrap();
    memory.tamper(|_, _| None);
    right(&service, &["a"]).await;
    let response = right(&service, &["c", "a", "b", "c"]).await;
    assert_eq!(sources(&response), ["", "memory", "redis", ""]);
    // The slow tier's rows are now in the fast one.
    assert_eq!(sources(&right(&service, &["b", "a", "c"]).await), ["memory"; 3]);
    service.cache().flush(SOON).await.unwrap();
    assert_eq!((memory.len(), remote.len()), (3, 3));

    let stats = service.stats().await;
    assert_eq!((stats.computed, stats.joined, stats.unfit), (3, 1, 0));
    let [memory, remote] = &stats.tiers[..] else { panic!("two tiers") };
    assert_eq!((memory.hits, memory.stored), (4, 5));
    assert_eq!(memory.misses.get("absent"), Some(&6));
    assert_eq!((remote.hits, remote.stored), (2, 3));
    assert_eq!(remote.misses.get("absent"), Some(&3));
    assert_eq!(remote.holds.unwrap().entries, Some(3));
}

/// A request makes one lookup in each tier, whatever its number of rows.
#[tokio::test]
async fn one_lookup_a_tier() {
    let remote = MapTier::remote("redis");
    let service = Cached::new(Scripted::new("e5", 8), cache(&[&remote]));
    let texts: Vec<String> = (0..100).map(|index| format!("text {index}")).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    right(&service, &texts).await;
    service.cache().flush(SOON).await.unwrap();
    right(&service, &texts).await;
    assert_eq!((remote.lookups(), service.inner().calls()), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_hanging_tier_costs_its_budget_and_then_nothing() {
    let remote = MapTier::remote("redis");
    let breaker = BreakerConfig::default().with_failures(3).with_pauses(SOON, SOON);
    let budget = Duration::from_millis(7);
    let config = CacheConfig::default().with_read_budget(budget).with_breaker(breaker);
    let service = Cached::new(Scripted::new("e5", 8), with_config(config, &[&remote]));
    remote.set(Mood::Hangs, Mood::Hangs);
    let mut waits = Vec::new();
    for index in 0..6 {
        let time = VirtualTime::start().await;
        right(&service, &[format!("text {index}").as_str()]).await;
        waits.push(time.passed().as_millis());
    }
    assert_eq!(waits, [7, 7, 7, 0, 0, 0]);
    let report = service.stats().await.tiers.remove(0);
    assert_eq!((report.misses.get("timeout"), report.misses.get("breaker_open")), (Some(&3), Some(&3)));
    assert!(report.is_open);
    let health = service.health().await;
    assert_eq!(health.status(), HealthStatus::Degraded);
    assert!(health.reason().unwrap().to_string().contains("redis"));

    // It recovers, which the first trial after the pause finds out without a restart.
    remote.set(Mood::Well, Mood::Well);
    tokio::time::advance(SOON).await;
    right(&service, &["back"]).await;
    service.cache().flush(SOON).await.unwrap();
    assert!(!service.stats().await.tiers[0].is_open);
    assert_eq!(service.health().await.status(), HealthStatus::Ready);
    assert_eq!(sources(&right(&service, &["back"]).await), ["redis"]);
}

#[tokio::test(start_paused = true)]
async fn every_failure_is_a_miss_with_its_reason() {
    for kind in [ErrorKind::Unavailable, ErrorKind::Overloaded, ErrorKind::Unauthorized, ErrorKind::Protocol]
    {
        for local in [true, false] {
            let tier = if local { MapTier::local("tier") } else { MapTier::remote("tier") };
            let service = Cached::new(Scripted::new("e5", 8), cache(&[&tier]));
            tier.set(Mood::Fails(kind), Mood::Fails(kind));
            right(&service, &["a", "b"]).await;
            service.cache().flush(SOON).await.unwrap();
            let report = service.stats().await.tiers.remove(0);
            assert!(report.misses.get(kind.as_str()).is_some_and(|misses| *misses >= 2), "{report:?}");
            assert_eq!(report.unstored.get(kind.as_str()), Some(&2), "{report:?}");
        }
    }
}

#[tokio::test]
async fn a_tier_with_too_few_answers_is_a_miss() {
    let tier = MapTier::remote("tier");
    let service = Cached::new(Scripted::new("e5", 8), cache(&[&tier]));
    right(&service, &["a", "b"]).await;
    service.cache().flush(SOON).await.unwrap();
    tier.set(Mood::Miscounts, Mood::Well);
    right(&service, &["a", "b"]).await;
    assert_eq!(service.stats().await.tiers[0].misses.get("protocol"), Some(&2));
}

/// A tier that refuses writes is still read; refused reads aren't an error either.
#[tokio::test]
async fn a_read_only_tier_is_read() {
    let tier = MapTier::remote("tier");
    let service = Cached::new(Scripted::new("e5", 8), cache(&[&tier]));
    right(&service, &["a"]).await;
    service.cache().flush(SOON).await.unwrap();
    tier.set(Mood::Well, Mood::Fails(ErrorKind::Unavailable));
    for index in 0..10 {
        right(&service, &[format!("text {index}").as_str()]).await;
        service.cache().flush(SOON).await.unwrap();
    }
    let report = service.stats().await.tiers.remove(0);
    assert!(report.is_write_open && !report.is_open, "{report:?}");
    assert_eq!(sources(&right(&service, &["a"]).await), ["tier"]);
}

/// Each change of the stored bytes is a miss with its reason, and the next write repairs it.
#[tokio::test]
async fn bytes_that_are_not_the_vector_of_their_key_are_misses() {
    let texts = ["a", "b", "c"];
    type Change = fn(Vec<u8>) -> Vec<u8>;
    let changes: [(&str, Change); 8] = [
        ("schema", |_| Vec::new()),
        ("schema", |mut bytes| {
            bytes[0] = 2;
            bytes
        }),
        ("layout", |mut bytes| {
            bytes[1] = 9;
            bytes
        }),
        ("layout", |mut bytes| {
            bytes.pop();
            bytes
        }),
        ("layout", |bytes| bytes[..10].to_vec()),
        ("dimension", |mut bytes| {
            bytes[4] = 7;
            bytes
        }),
        ("checksum", |mut bytes| {
            bytes[2] ^= 1;
            bytes
        }),
        ("checksum", |mut bytes| {
            *bytes.last_mut().unwrap() ^= 1;
            bytes
        }),
    ];
    for (reason, change) in changes {
        let tier = MapTier::remote("tier");
        let service = Cached::new(Scripted::new("e5", 8), cache(&[&tier]));
        right(&service, &texts).await;
        service.cache().flush(SOON).await.unwrap();
        tier.tamper(|_, value| Some(Value::from_bytes(change(value.as_bytes().to_vec()))));
        right(&service, &texts).await;
        service.cache().flush(SOON).await.unwrap();
        assert_eq!(service.stats().await.tiers[0].misses.get(reason), Some(&3), "{reason}");
        assert_eq!(sources(&right(&service, &texts).await), ["tier"; 3], "{reason}");
    }
}

/// Every bit of a stored value, flipped alone, is noticed.
#[tokio::test]
async fn no_flipped_bit_gets_through() {
    let tier = MapTier::local("tier");
    let service = Cached::new(Scripted::new("e5", 8), cache(&[&tier]));
    right(&service, &["a"]).await;
    let mut good = Vec::new();
    tier.tamper(|_, value| {
        good = value.as_bytes().to_vec();
        Some(value.clone())
    });
    for bit in 0..good.len() * 8 {
        tier.tamper(|_, _| {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            Some(Value::from_bytes(bytes))
        });
        let calls = service.inner().calls();
        right(&service, &["a"]).await;
        assert_eq!(service.inner().calls(), calls + 1, "bit {bit}");
    }
}

/// A tier that returns the value of another key: the checksum covers the key.
#[tokio::test]
async fn values_under_the_wrong_keys_are_misses() {
    let tier = MapTier::local("tier");
    let service = Cached::new(Scripted::new("e5", 8), cache(&[&tier]));
    right(&service, &["a", "b"]).await;
    let mut stored = Vec::new();
    tier.tamper(|key, value| {
        stored.push((key.clone(), value.clone()));
        Some(value.clone())
    });
    tier.tamper(|key, _| stored.iter().find(|(other, _)| other != key).map(|(_, value)| value.clone()));
    right(&service, &["a", "b"]).await;
    assert_eq!(service.stats().await.tiers[0].misses.get("checksum"), Some(&2));
}

#[tokio::test(start_paused = true)]
async fn the_queue_of_writes_is_bounded() {
    let tier = MapTier::remote("tier");
    let config = CacheConfig::default().with_queue_bytes(1000);
    let service = Cached::new(Scripted::new("e5", 8), with_config(config, &[&tier]));
    tier.set(Mood::Well, Mood::Hangs);
    // A value of eight numbers takes 56 bytes: seventeen fit.
    for index in 0..100 {
        right(&service, &[format!("text {index}").as_str()]).await;
    }
    let error = service.cache().flush(Duration::from_millis(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.to_string().contains("waiting_bytes: 952"), "{error}");
    assert_eq!(service.stats().await.tiers[0].unstored.get("queue_full"), Some(&83));
}

#[tokio::test]
async fn failed_rows_are_not_stored() {
    let tier = MapTier::local("tier");
    let service = Cached::new(Scripted::new("e5", 8), cache(&[&tier]));
    service.inner().fail_texts_with("bad", Error::new(ErrorKind::InvalidInput, "told to"));
    for _ in 0..2 {
        let response = service.embed(documents(["good", "bad", "", "fine"])).await.unwrap();
        let failed: Vec<usize> = response.errors().map(|(row, _)| row).collect();
        assert_eq!(failed, [1, 2]);
        for (row, text) in [(0, "good"), (3, "fine")] {
            let vector = response.row(row).unwrap().vector();
            assert_eq!(vector, service.inner().vector(text, embed_core::Role::Document));
        }
    }
    assert_eq!(tier.len(), 2);
}

#[test]
fn bad_settings_name_their_field() {
    let same =
        vec![std::sync::Arc::new(MapTier::local("a")) as _, std::sync::Arc::new(MapTier::remote("a")) as _];
    let error = embed_cache::Cache::new(CacheConfig::default(), same).unwrap_err();
    assert_eq!((error.kind(), error.context().next()), (ErrorKind::Config, Some(("tier", "a"))));
    let zero = CacheConfig::default().with_read_budget(Duration::ZERO);
    let error = embed_cache::Cache::new(zero, Vec::new()).unwrap_err();
    assert_eq!(error.context().next(), Some(("field", "read_budget")));
}
