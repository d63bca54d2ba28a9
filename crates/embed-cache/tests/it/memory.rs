//! The memory tier compared with an unbounded map.

use std::collections::HashMap;
use std::time::Duration;

use embed_cache::{Key, MemoryConfig, MemoryTier, Namespace, Tier, Value};
use embed_core::{ErrorKind, Role, Truncation};
use futures::FutureExt;
use proptest::collection::vec;
use proptest::prelude::*;
use tokio::runtime::Builder;
use tokio::time::{Instant, advance};

const TTL: Duration = Duration::from_secs(60);

/// The operations of a tier. Keys are numbered below [`KEYS`].
#[derive(Debug, Clone)]
enum Step {
    Get(Vec<usize>),
    /// Keys, and the length of the value.
    Put(Vec<(usize, usize)>),
    Remove(Vec<usize>),
    ClearNamespace(usize),
    ClearAll,
    Wait(Duration),
}

const KEYS: usize = 24;

fn namespace(number: usize) -> Namespace {
    Namespace::named(["one", "two"][number])
}

/// Keys that differ from each other in one part: namespace, role, truncation or text.
fn key(number: usize) -> Key {
    let role = [Role::Query, Role::Document][number / 2 % 2];
    let truncation = [Truncation::Error, Truncation::End][number / 4 % 2];
    Key::new(&namespace(number % 2), role, truncation, ["", "a", "ab"][number / 8])
}

fn keys(numbers: &[usize]) -> Vec<Key> {
    numbers.iter().copied().map(key).collect()
}

/// A value that differs for each stamp.
fn value(stamp: usize, length: usize) -> Value {
    let mut bytes = stamp.to_le_bytes().to_vec();
    bytes.resize(8 + length, 0);
    Value::from_bytes(bytes)
}

fn step() -> impl Strategy<Value = Step> {
    let key = || 0..KEYS;
    prop_oneof![
        6 => vec(key(), 0..8).prop_map(Step::Get),
        6 => vec((key(), 0_usize..4000), 0..8).prop_map(Step::Put),
        2 => vec(key(), 0..4).prop_map(Step::Remove),
        1 => (0_usize..2).prop_map(Step::ClearNamespace),
        1 => Just(Step::ClearAll),
        2 => (0_u64..40).prop_map(|seconds| Step::Wait(Duration::from_secs(seconds))),
    ]
}

/// Applies the steps to a tier and to a map. `forgets`: whether the tier may have fewer entries than the map.
async fn compare(config: MemoryConfig, steps: Vec<Step>, forgets: bool) -> Result<(), TestCaseError> {
    let tier = MemoryTier::new(config).unwrap();
    let mut model: HashMap<usize, (Value, Instant)> = HashMap::new();
    let mut stamp = 0;
    let mut expired = 0;
    for step in steps {
        match step {
            Step::Get(numbers) => {
                let got = tier.get_many(&keys(&numbers)).await.unwrap();
                prop_assert_eq!(got.len(), numbers.len());
                for (number, got) in numbers.iter().zip(got) {
                    let old = config
                        .ttl
                        .zip(model.get(number))
                        .is_some_and(|(ttl, (_, since))| *since + ttl <= Instant::now());
                    if old {
                        model.remove(number);
                        expired += 1;
                    }
                    let expected = model.get(number).map(|(value, _)| value.clone());
                    if got.is_some() || !forgets {
                        prop_assert_eq!(got, expected, "key {}", number);
                    }
                }
            }
            Step::Put(entries) => {
                let values = entries.into_iter().map(|(number, length)| {
                    stamp += 1;
                    (number, value(stamp, length))
                });
                let entries: Vec<_> = values.collect();
                let pairs: Vec<_> =
                    entries.iter().map(|(number, value)| (key(*number), value.clone())).collect();
                tier.put_many(&pairs).await.unwrap();
                model.extend(entries.into_iter().map(|(number, value)| (number, (value, Instant::now()))));
            }
            Step::Remove(numbers) => {
                tier.remove(&keys(&numbers)).await.unwrap();
                model.retain(|number, _| !numbers.contains(number));
            }
            Step::ClearNamespace(number) => {
                tier.clear(Some(&namespace(number))).await.unwrap();
                model.retain(|key, _| key % 2 != number);
            }
            Step::ClearAll => {
                tier.clear(None).await.unwrap();
                model.clear();
            }
            Step::Wait(time) => advance(time).await,
        }
        let stats = tier.stats().await.unwrap();
        prop_assert!(stats.bytes <= stats.limit, "{:?}", stats);
        prop_assert_eq!(stats.limit, Some(config.max_bytes));
        if forgets {
            prop_assert!(stats.entries.unwrap() <= model.len() as u64);
            prop_assert!(stats.expired <= expired);
        } else {
            prop_assert_eq!(stats.entries, Some(model.len() as u64));
            prop_assert_eq!((stats.expired, stats.evicted), (expired, 0));
        }
    }
    Ok(())
}

fn in_virtual_time(test: impl Future<Output = Result<(), TestCaseError>>) -> Result<(), TestCaseError> {
    Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(test)
}

proptest! {
    #[test]
    fn a_tier_with_room_is_a_map(steps in vec(step(), 0..60)) {
        in_virtual_time(compare(MemoryConfig::default().with_ttl(TTL), steps, false))?;
    }

    #[test]
    fn a_full_tier_forgets_and_never_lies(
        max_bytes in 1_u64..40_000,
        ttl in proptest::option::of(Just(TTL)),
        steps in vec(step(), 0..60),
    ) {
        in_virtual_time(compare(MemoryConfig::default().with_max_bytes(max_bytes).with_ttl(ttl), steps, true))?;
    }
}

#[tokio::test(start_paused = true)]
async fn an_old_entry_is_a_miss_and_gone() {
    let tier = MemoryTier::new(MemoryConfig::default().with_ttl(TTL)).unwrap();
    let entries = [(key(0), value(0, 100)), (key(1), value(1, 100))];
    tier.put_many(&entries).await.unwrap();
    advance(TTL - Duration::from_millis(1)).await;
    tier.put_many(&entries[1..]).await.unwrap();
    assert!(tier.get_many(&keys(&[0, 1])).await.unwrap().iter().all(Option::is_some));
    advance(Duration::from_millis(1)).await;
    let found = tier.get_many(&keys(&[0, 1])).await.unwrap();
    assert_eq!(found, [None, Some(entries[1].1.clone())]);
    let stats = tier.stats().await.unwrap();
    assert_eq!((stats.entries, stats.expired, stats.evicted), (Some(1), 1, 0));
}

#[tokio::test(start_paused = true)]
async fn without_ttl_nothing_expires() {
    let tier = MemoryTier::new(MemoryConfig::default().with_ttl(None)).unwrap();
    tier.put_many(&[(key(0), value(0, 100))]).await.unwrap();
    advance(Duration::from_secs(60 * 60 * 24 * 365)).await;
    assert!(tier.get_many(&keys(&[0])).await.unwrap()[0].is_some());
}

#[tokio::test]
async fn a_value_that_is_too_large_removes_the_old_one() {
    let tier = MemoryTier::new(MemoryConfig::default().with_max_bytes(10_000)).unwrap();
    tier.put_many(&[(key(0), value(0, 100)), (key(1), value(1, 100))]).await.unwrap();
    tier.put_many(&[(key(0), value(2, 10_000))]).await.unwrap();
    let found = tier.get_many(&keys(&[0, 1])).await.unwrap();
    assert_eq!(found, [None, Some(value(1, 100))]);
    assert_eq!(tier.stats().await.unwrap().evicted, 0);
}

#[tokio::test]
async fn evictions_are_counted_and_replacements_are_not() {
    let tier = MemoryTier::new(MemoryConfig::default().with_max_bytes(10_000)).unwrap();
    for stamp in 0..100 {
        tier.put_many(&[(key(0), value(stamp, 1000))]).await.unwrap();
    }
    assert_eq!(tier.stats().await.unwrap().evicted, 0);
    for number in 0..KEYS {
        tier.put_many(&[(key(number), value(number, 1000))]).await.unwrap();
    }
    let stats = tier.stats().await.unwrap();
    assert!(stats.evicted > 0);
    assert_eq!(stats.entries.unwrap() + stats.evicted, KEYS as u64);
}

#[test]
fn threads_get_what_belongs_to_the_key() {
    let tier = MemoryTier::new(MemoryConfig::default().with_max_bytes(40_000)).unwrap();
    let work = |thread: usize, round: usize| {
        // Each thread goes through all keys at a different pace.
        let first = round * (2 * thread + 1) % KEYS;
        let numbers = [first, (first + 1) % KEYS];
        match round % 5 {
            0 | 1 => {
                let entries = numbers.map(|number| (key(number), value(number, round)));
                tier.put_many(&entries).now_or_never().unwrap().unwrap();
            }
            2 | 3 => {
                let found = tier.get_many(&keys(&numbers)).now_or_never().unwrap().unwrap();
                for (number, found) in numbers.into_iter().zip(found) {
                    let is_of_key = |found: Value| found.as_bytes().starts_with(&number.to_le_bytes());
                    assert!(found.is_none_or(is_of_key), "key {number}");
                }
            }
            _ if round % 500 == 499 => {
                tier.clear(Some(&namespace(thread % 2))).now_or_never().unwrap().unwrap();
            }
            _ => tier.remove(&keys(&numbers[..1])).now_or_never().unwrap().unwrap(),
        }
        let stats = tier.stats().now_or_never().unwrap().unwrap();
        assert!(stats.bytes <= stats.limit, "{stats:?}");
    };
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let work = &work;
            scope.spawn(move || (0..2000).for_each(|round| work(thread, round)));
        }
    });
}

#[test]
fn a_wrong_setting_is_named() {
    let default = MemoryConfig::default();
    for (field, config) in
        [("max_bytes", default.with_max_bytes(0)), ("ttl", default.with_ttl(Duration::ZERO))]
    {
        let error = MemoryTier::new(config).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert_eq!(error.context().next(), Some(("field", field)));
    }
}
