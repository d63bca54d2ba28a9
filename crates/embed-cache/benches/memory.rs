//! The cost of a hit in memory: the tier compared with bare `quick_cache`, which it uses, and with moka, with the same
//! keys and values.
//!
//! `cargo bench -p embed-cache --bench memory`; with `-- --test` each runs once, as a test.

#![expect(clippy::unwrap_used, reason = "a benchmark that fails panics")]

use std::hash::Hash;
use std::hint::black_box;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use embed_cache::{Cache, CacheConfig, Cached, Key, MemoryConfig, MemoryTier, Namespace, Tier, Value};
use embed_core::{EmbedRequest, Embedder, Role, Truncation};
use embed_e5::{E5Config, E5Embedder};
use embed_testkit::Scripted;
use foldhash::fast::RandomState;
use futures::FutureExt;
use quick_cache::UnitWeighter;
use quick_cache::sync::DefaultLifecycle;
use sha2::{Digest, Sha256};
use twox_hash::XxHash3_64;

// All with the tier's hasher: the standard library's takes 20 ns by itself.
type QuickCache<K, V> = quick_cache::sync::Cache<K, V, UnitWeighter, RandomState>;
type Moka = moka::sync::Cache<Key, Value, RandomState>;

const DIMENSION: usize = 384;
const HEADER: usize = 24;
/// 1.6 MB of vectors: more than the processor's first caches hold.
const ENTRIES: usize = 1024;

/// The seed of the checksums here.
const SEED: u64 = 1;

/// Full-size entries with different numbers, and a checksum at the end of the header.
fn entries() -> Vec<(Key, Value)> {
    let namespace = Namespace::named("all-minilm;dim=384;weights=0123456789abcdef");
    let entry = |i: usize| {
        let key = Key::new(&namespace, Role::Query, Truncation::Error, &text(i));
        let numbers: Vec<u8> =
            (1..=DIMENSION).flat_map(|at| ((i * DIMENSION + at) as f32).to_le_bytes()).collect();
        let sum = XxHash3_64::oneshot_with_seed(SEED, &numbers).to_le_bytes();
        (key, Value::from_bytes([&[0; HEADER - 8][..], &sum, &numbers].concat()))
    };
    (0..ENTRIES).map(entry).collect()
}

fn text(i: usize) -> String {
    format!("database query optimization {i}")
}

fn copy(value: &Value, numbers: &mut Vec<f32>) {
    let bytes = &value.as_bytes()[HEADER..];
    numbers.extend(bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)));
}

/// Copies a found row after checking its checksum and its numbers, whichever store it was found in.
fn copy_checked(value: &Value, numbers: &mut Vec<f32>) {
    let bytes = value.as_bytes();
    let sum = XxHash3_64::oneshot_with_seed(SEED, &bytes[HEADER..]);
    assert_eq!(bytes[HEADER - 8..HEADER], sum.to_le_bytes());
    let start = numbers.len();
    copy(value, numbers);
    embed_core::vector::check(&numbers[start..], DIMENSION).unwrap();
}

/// A store of values.
trait Store: Sync {
    /// Passes the values of some keys to `take`.
    fn read(&self, keys: &[Key], take: &mut dyn FnMut(&Value));
}

impl Store for MemoryTier {
    fn read(&self, keys: &[Key], take: &mut dyn FnMut(&Value)) {
        let values = self.get_many(keys).now_or_never().unwrap().unwrap();
        values.iter().for_each(|value| take(value.as_ref().unwrap()));
    }
}

impl Store for QuickCache<Key, Value> {
    fn read(&self, keys: &[Key], take: &mut dyn FnMut(&Value)) {
        keys.iter().for_each(|key| take(&self.get(key).unwrap()));
    }
}

impl Store for Moka {
    fn read(&self, keys: &[Key], take: &mut dyn FnMut(&Value)) {
        keys.iter().for_each(|key| take(&self.get(key).unwrap()));
    }
}

fn quick_cache<K: Eq + Hash, V: Clone>() -> QuickCache<K, V> {
    let room = 4 * ENTRIES;
    QuickCache::with(room, room as u64, UnitWeighter, RandomState::default(), DefaultLifecycle::default())
}

/// All stores, filled, by name.
fn stores(entries: &[(Key, Value)]) -> Vec<(&'static str, Box<dyn Store>)> {
    let tier = MemoryTier::new(MemoryConfig::default()).unwrap();
    tier.put_many(entries).now_or_never().unwrap().unwrap();
    let forever = MemoryTier::new(MemoryConfig::default().with_ttl(None)).unwrap();
    forever.put_many(entries).now_or_never().unwrap().unwrap();
    let quick = quick_cache();
    let moka = moka::sync::Cache::builder()
        .max_capacity(4 * ENTRIES as u64)
        .build_with_hasher(RandomState::default());
    for (key, value) in entries {
        quick.insert(key.clone(), value.clone());
        moka.insert(key.clone(), value.clone());
    }
    vec![
        ("embed-cache tier", Box::new(tier)),
        ("embed-cache tier without TTL", Box::new(forever)),
        ("quick_cache", Box::new(quick)),
        ("moka", Box::new(moka)),
    ]
}

/// Rows that are looked up, and rows that are looked up, checked and copied.
fn hits(criterion: &mut Criterion) {
    let entries = entries();
    let keys: Vec<_> = entries.iter().map(|(key, _)| key.clone()).collect();
    for rows in [1, 32] {
        let mut group = criterion.benchmark_group(format!("cache/lookup of {rows}"));
        for (name, store) in stores(&entries) {
            let mut parts = keys.chunks_exact(rows).cycle();
            group.bench_function(name, |bencher| {
                bencher.iter(|| {
                    store.read(parts.next().unwrap(), &mut |value| {
                        black_box(value);
                    })
                });
            });
        }
        drop(group);
        let mut group = criterion.benchmark_group(format!("cache/hit of {rows}"));
        for (name, store) in stores(&entries) {
            let mut numbers = Vec::with_capacity(rows * DIMENSION);
            let mut parts = keys.chunks_exact(rows).cycle();
            group.bench_function(name, |bencher| {
                bencher.iter(|| {
                    numbers.clear();
                    store.read(parts.next().unwrap(), &mut |value| copy_checked(value, &mut numbers));
                    black_box(numbers.last());
                });
            });
        }
    }
}

/// Two concurrent threads, one row at a time: the time of one row in the slower thread.
fn threads(criterion: &mut Criterion) {
    let entries = entries();
    let keys: Vec<_> = entries.iter().map(|(key, _)| key.clone()).collect();
    let mut group = criterion.benchmark_group("cache/hit of 1, two threads");
    for (name, store) in stores(&entries) {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|rounds| {
                let read = |from: usize| {
                    let mut numbers = Vec::with_capacity(DIMENSION);
                    let start = Instant::now();
                    for key in keys.chunks_exact(1).cycle().skip(from).take(rounds as usize) {
                        numbers.clear();
                        store.read(key, &mut |value| copy_checked(value, &mut numbers));
                        black_box(numbers.last());
                    }
                    start.elapsed()
                };
                let times: [Duration; 2] = thread::scope(|scope| {
                    [0, ENTRIES / 2]
                        .map(|from| scope.spawn(move || read(from)))
                        .map(|thread| thread.join().unwrap())
                });
                times.into_iter().max().unwrap()
            });
        });
    }
}

/// Whole requests whose texts all hit, from the text to the response, compared with the same steps by hand on
/// `quick_cache`: SHA-256 of the text, a lookup, the numbers copied into a new vector; and with these steps plus the two
/// checks of every row, of its checksum and of its numbers.
fn requests(criterion: &mut Criterion) {
    let texts: Vec<Arc<str>> = (0..ENTRIES).map(|i| text(i).into()).collect();
    let tier = MemoryTier::new(MemoryConfig::default()).unwrap();
    let cache = Cache::new(CacheConfig::default(), vec![Arc::new(tier)]).unwrap();
    let cached = Cached::new(Scripted::new("all-minilm", DIMENSION), cache);
    let all = EmbedRequest::new(texts.iter().cloned(), Role::Query);
    cached.embed(all).now_or_never().unwrap().unwrap().into_complete().unwrap();
    let by_hand: QuickCache<[u8; 32], Value> = quick_cache();
    for (text, (_, value)) in texts.iter().zip(entries()) {
        by_hand.insert(Sha256::digest(text.as_bytes()).into(), value);
    }
    for rows in [1, 32] {
        let mut group = criterion.benchmark_group(format!("cache/request of {rows}"));
        let requests: Vec<_> = texts
            .chunks_exact(rows)
            .map(|texts| EmbedRequest::new(texts.iter().cloned(), Role::Query))
            .collect();
        let mut next = requests.iter().cycle();
        group.bench_function("embed-cache Cached", |bencher| {
            bencher.iter(|| {
                let response = cached.embed(next.next().unwrap().clone()).now_or_never().unwrap().unwrap();
                black_box(response.row(rows - 1).unwrap().vector()[0])
            });
        });
        for (name, copy) in [("by hand", copy as fn(&_, &mut _)), ("by hand, checked", copy_checked)] {
            group.bench_function(name, |bencher| {
                bencher.iter(|| {
                    let mut numbers = Vec::with_capacity(rows * DIMENSION);
                    for text in next.next().unwrap().texts() {
                        let key: [u8; 32] = Sha256::digest(text.as_bytes()).into();
                        copy(&by_hand.get(&key).unwrap(), &mut numbers);
                    }
                    black_box(numbers[(rows - 1) * DIMENSION])
                });
            });
        }
    }
}

/// One cached short text at a time, compared with the engine that computes it.
fn engine(criterion: &mut Criterion) {
    let loaded = E5Embedder::load_blocking(E5Config::default());
    let Some(engine) = embed_testkit::require("multilingual-e5-small (int8)", loaded) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let tier = MemoryTier::new(MemoryConfig::default()).unwrap();
    let cache = Cache::new(CacheConfig::default(), vec![Arc::new(tier)]).unwrap();
    let engine = Arc::new(engine);
    let cached = Cached::new(Arc::clone(&engine), cache);
    let request = EmbedRequest::new(["a text of a few words, as queries are"], Role::Query);
    let ask = |service: &dyn Embedder| {
        let response = runtime.block_on(service.embed(request.clone())).unwrap().into_complete().unwrap();
        black_box(response.row(0).unwrap().vector()[0])
    };
    assert_eq!(ask(&engine), ask(&cached));
    let mut group = criterion.benchmark_group("cache/short text of e5");
    group.bench_function("embed-e5", |bencher| bencher.iter(|| ask(&engine)));
    group.bench_function("embed-cache Cached", |bencher| bencher.iter(|| ask(&cached)));
    group.finish();
}

/// The parts of a hit.
fn parts(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("cache/parts of a hit");
    let namespace = Namespace::named("all-minilm;dim=384;weights=0123456789abcdef");
    for length in [16, 100, 1000] {
        let text = "x".repeat(length);
        group.bench_with_input(BenchmarkId::new("SHA-256", length), &text, |bencher, text| {
            bencher.iter(|| Sha256::digest(black_box(text.as_bytes())));
        });
        group.bench_with_input(BenchmarkId::new("key", length), &text, |bencher, text| {
            bencher.iter(|| Key::new(&namespace, Role::Query, Truncation::Error, black_box(text)));
        });
    }
    let bytes = vec![1_u8; 4 * DIMENSION];
    group.bench_function("XXH3 of a vector", |bencher| {
        bencher.iter(|| XxHash3_64::oneshot_with_seed(black_box(7), black_box(&bytes)));
    });
    group.bench_function("copy of a vector", |bencher| bencher.iter(|| black_box(&bytes).clone()));
    group.bench_function("clock", |bencher| bencher.iter(tokio::time::Instant::now));
    let vector: Vec<_> = (0..DIMENSION).map(|i| i as f32).collect();
    group.bench_function("check of a vector", |bencher| {
        bencher.iter(|| embed_core::vector::check(black_box(&vector), DIMENSION).unwrap());
    });
}

criterion_group!(benches, hits, threads, requests, engine, parts);
criterion_main!(benches);
