//! The memory tier's size as seen by the operating system. A separate test binary, because nothing else may take memory
//! in this process.

#![cfg(target_os = "linux")]

use embed_cache::{Key, MemoryConfig, MemoryTier, Namespace, Tier, Value};
use embed_core::{Role, Truncation};
use embed_testkit::resident;

const LIMIT: u64 = 64 << 20;

/// A value as large as one of 384 numbers of four bytes, all of its pages written.
fn value(i: u64) -> Value {
    Value::from_bytes(i.to_le_bytes().repeat((24 + 384 * 4) / 8))
}

#[tokio::test]
async fn a_limit_holds_while_a_million_vectors_go_through() {
    let namespace = Namespace::named("variant");
    let key = |i: u64| Key::new(&namespace, Role::Document, Truncation::End, &i.to_string());
    let tier = MemoryTier::new(MemoryConfig::default().with_max_bytes(LIMIT)).unwrap();
    let before = resident();
    let mut most = 0;
    for batch in 0..10_000 {
        let entries: Vec<_> = (batch * 100..(batch + 1) * 100).map(|i| (key(i), value(i))).collect();
        tier.put_many(&entries).await.unwrap();
        // Some are looked up again, so that all lists of the cache are in use.
        let again: Vec<_> = entries.into_iter().step_by(7).map(|(key, _)| key).collect();
        tier.get_many(&again).await.unwrap();
        most = most.max(resident() - before);
    }
    let stats = tier.stats().await.unwrap();
    println!("limit {LIMIT}, at most {most} resident, {stats:?}");
    assert!(most <= LIMIT + LIMIT / 10, "{most} bytes resident: over the limit of {LIMIT}");
    assert!(most >= LIMIT - LIMIT / 10, "{most} bytes resident: the limit of {LIMIT} isn't used");
    assert_eq!(stats.entries.unwrap() + stats.evicted, 1_000_000);
}
