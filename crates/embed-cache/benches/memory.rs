//! What a hit in memory costs: the tier beside the bare `quick_cache` that it stands on and beside moka, with the
//! same keys and values.
//!
//! `cargo bench -p embed-cache --bench memory`; with `-- --test` each runs once, as a test.

#![expect(clippy::unwrap_used, reason = "a benchmark that fails panics")]

use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use embed_cache::{Key, MemoryConfig, MemoryTier, Namespace, Tier, Value};
use embed_core::{Role, Truncation};
use foldhash::fast::RandomState;
use futures::FutureExt;
use quick_cache::UnitWeighter;
use quick_cache::sync::DefaultLifecycle;
use sha2::{Digest, Sha256};
use twox_hash::XxHash3_64;

type QuickCache = quick_cache::sync::Cache<Key, Value, UnitWeighter, RandomState>;
type Moka = moka::sync::Cache<Key, Value, RandomState>;

const DIMENSION: usize = 384;
const HEADER: usize = 24;
/// 1.6 MB of vectors: more than the first caches of a processor hold.
const ENTRIES: usize = 1024;

/// Entries of full width, with numbers that aren't all alike.
fn entries() -> Vec<(Key, Value)> {
    let namespace = Namespace::named("all-minilm;dim=384;weights=0123456789abcdef");
    let entry = |i: usize| {
        let key = Key::new(&namespace, Role::Query, Truncation::Error, &text(i));
        let numbers = (0..DIMENSION).flat_map(|at| ((i * DIMENSION + at + 1) as f32).to_le_bytes());
        (key, Value::from_bytes([0; HEADER].into_iter().chain(numbers).collect::<Vec<u8>>()))
    };
    (0..ENTRIES).map(entry).collect()
}

fn text(i: usize) -> String {
    format!("database query optimization {i}")
}

/// The ways to keep values, each with the same work: find the values of some keys, copy their numbers out.
trait Store: Sync {
    fn read(&self, keys: &[Key], numbers: &mut Vec<f32>);
}

fn copy(value: &Value, numbers: &mut Vec<f32>) {
    let bytes = &value.as_bytes()[HEADER..];
    numbers.extend(bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)));
}

impl Store for MemoryTier {
    fn read(&self, keys: &[Key], numbers: &mut Vec<f32>) {
        for value in self.get_many(keys).now_or_never().unwrap().unwrap() {
            copy(&value.unwrap(), numbers);
        }
    }
}

impl Store for QuickCache {
    fn read(&self, keys: &[Key], numbers: &mut Vec<f32>) {
        for key in keys {
            copy(&self.get(key).unwrap(), numbers);
        }
    }
}

impl Store for Moka {
    fn read(&self, keys: &[Key], numbers: &mut Vec<f32>) {
        for key in keys {
            copy(&self.get(key).unwrap(), numbers);
        }
    }
}

/// All stores, filled, by name.
fn stores(entries: &[(Key, Value)]) -> Vec<(&'static str, Box<dyn Store>)> {
    let tier = MemoryTier::new(MemoryConfig::default()).unwrap();
    tier.put_many(entries).now_or_never().unwrap().unwrap();
    let forever = MemoryTier::new(MemoryConfig::default().with_ttl(None)).unwrap();
    forever.put_many(entries).now_or_never().unwrap().unwrap();
    // With the hasher of the tier: the standard one alone takes 20 ns.
    let hasher = RandomState::default();
    let quick = QuickCache::with(
        4 * ENTRIES,
        4 * ENTRIES as u64,
        UnitWeighter,
        hasher.clone(),
        DefaultLifecycle::default(),
    );
    let moka = moka::sync::Cache::builder().max_capacity(4 * ENTRIES as u64).build_with_hasher(hasher);
    for (key, value) in entries {
        quick.insert(key.clone(), value.clone());
        moka.insert(key.clone(), value.clone());
    }
    vec![
        ("tier", Box::new(tier)),
        ("tier without TTL", Box::new(forever)),
        ("quick_cache", Box::new(quick)),
        ("moka", Box::new(moka)),
    ]
}

/// Reads a number of rows at a time.
fn hits(criterion: &mut Criterion) {
    let entries = entries();
    let keys: Vec<_> = entries.iter().map(|(key, _)| key.clone()).collect();
    for rows in [1, 32] {
        let mut group = criterion.benchmark_group(format!("hit of {rows}"));
        group.throughput(Throughput::Elements(rows as u64));
        for (name, store) in stores(&entries) {
            let mut numbers = Vec::with_capacity(rows * DIMENSION);
            let mut parts = keys.chunks_exact(rows).cycle();
            group.bench_function(name, |bencher| {
                bencher.iter(|| {
                    numbers.clear();
                    store.read(parts.next().unwrap(), &mut numbers);
                    black_box(numbers.last());
                });
            });
        }
    }
}

/// Two threads read one row at a time: the time of one row in one thread.
fn threads(criterion: &mut Criterion) {
    let entries = entries();
    let keys: Vec<_> = entries.iter().map(|(key, _)| key.clone()).collect();
    let mut group = criterion.benchmark_group("hit of 1, two threads");
    for (name, store) in stores(&entries) {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|rounds| {
                let read = |from: usize| {
                    let mut numbers = Vec::with_capacity(DIMENSION);
                    let start = Instant::now();
                    for key in keys.chunks_exact(1).cycle().skip(from).take(rounds as usize) {
                        numbers.clear();
                        store.read(key, &mut numbers);
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

/// What a hit is made of.
fn parts(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("part");
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
        bencher.iter(|| embed_core::vector::check(black_box(&vector), DIMENSION));
    });
}

criterion_group!(benches, hits, threads, parts);
criterion_main!(benches);
