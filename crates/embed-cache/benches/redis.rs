//! 32 rows from Redis: one call of the tier compared with 32 `GET`s, sequential and pipelined; the gain of more than one
//! connection; and the cost of a request while Redis is frozen.
//!
//! `cargo bench -p embed-cache --features redis --bench redis`; with `-- --test` each runs once, as a test.

#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use embed_cache::{Cache, CacheConfig, Cached, Key, Namespace, RedisConfig, RedisTier, Tier, Value};
use embed_core::{EmbedRequest, Embedder, Role, Truncation};
use embed_testkit::Scripted;
use embed_testkit::redis::{RedisOptions, RedisServer};
use fred::clients::Client;
use fred::interfaces::{ClientLike, KeysInterface};
use fred::types::Value as Answer;
use fred::types::config::Config;
use futures::future::join_all;

/// Rows of a request.
const ROWS: usize = 32;

/// Bytes of a vector of 384 numbers.
const BYTES: usize = 24 + 384 * 4;

/// Concurrent callers.
const CALLERS: usize = 64;

fn rows(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let Some(server) = runtime.block_on(RedisServer::require(RedisOptions::default())) else { return };
    let namespace = Namespace::named("model");
    let key = |i: usize| Key::new(&namespace, Role::Document, Truncation::End, &format!("text {i}"));
    let keys: Vec<Key> = (0..ROWS).map(key).collect();
    let entries: Vec<(Key, Value)> =
        keys.iter().map(|key| (key.clone(), Value::from_bytes(vec![1_u8; BYTES]))).collect();
    let connect = |connections| {
        let url = server.url().parse().unwrap();
        let _runtime = runtime.enter();
        let tier = RedisTier::connect(RedisConfig::new(url).with_connections(connections)).unwrap();
        runtime.block_on(tier.ready(Duration::from_secs(5))).unwrap();
        tier
    };
    let tier = connect(1);
    runtime.block_on(tier.put_many(&entries)).unwrap();
    let names: Vec<Vec<u8>> = server.keys();
    let client = Client::new(Config::from_url(&server.url()).unwrap(), None, None, None);
    let _connection = runtime.block_on(client.init()).unwrap();

    // Only hits are measured.
    assert!(runtime.block_on(tier.get_many(&keys)).unwrap().iter().all(Option::is_some));
    for name in &names {
        let answer: Answer = runtime.block_on(client.get(name.as_slice())).unwrap();
        assert!(answer.as_bytes().is_some_and(|bytes| bytes.len() >= BYTES));
    }

    let mut group = criterion.benchmark_group("cache/redis, 32 rows");
    group.throughput(Throughput::Elements(ROWS as u64));
    group.bench_function("embed-cache get_many", |bencher| {
        bencher.iter(|| black_box(runtime.block_on(tier.get_many(&keys)).unwrap()));
    });
    group.bench_function("32 GETs, one after the other", |bencher| {
        let get_each = async || {
            for name in &names {
                black_box(client.get::<Answer, _>(name.as_slice()).await.unwrap());
            }
        };
        bencher.iter(|| runtime.block_on(get_each()));
    });
    group.bench_function("32 GETs at once", |bencher| {
        let get_all = || join_all(names.iter().map(|name| client.get::<Answer, _>(name.as_slice())));
        bencher.iter(|| black_box(runtime.block_on(get_all())));
    });
    group.finish();

    let mut group = criterion.benchmark_group("cache/redis, 32 rows written");
    group.throughput(Throughput::Elements(ROWS as u64));
    group.bench_function("embed-cache put_many", |bencher| {
        bencher.iter(|| runtime.block_on(tier.put_many(&entries)).unwrap());
    });
    group.finish();

    let mut group = criterion.benchmark_group("cache/redis, 64 callers of 32 rows");
    group.throughput(Throughput::Elements((CALLERS * ROWS) as u64));
    for connections in [1, 2, 4, 8] {
        let tier = connect(connections);
        group.bench_function(format!("{connections} connections"), |bencher| {
            let ask = || join_all((0..CALLERS).map(|_| tier.get_many(&keys)));
            bencher.iter(|| black_box(runtime.block_on(ask())));
        });
    }
    group.finish();
}

/// Requests for new texts while Redis is frozen: each waits for its budget until the breaker opens, and then not at all.
fn frozen(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let Some(server) = runtime.block_on(RedisServer::require(RedisOptions::default())) else { return };
    let tier = runtime.block_on(async {
        let tier = RedisTier::connect(RedisConfig::new(server.url().parse().unwrap())).unwrap();
        tier.ready(Duration::from_secs(60)).await.unwrap();
        tier
    });
    let cache = Cache::new(CacheConfig::default(), vec![Arc::new(tier)]).unwrap();
    let cached = Cached::new(Scripted::new("model", 384), cache);
    let mut texts = 0..;
    server.freeze();
    let mut group = criterion.benchmark_group("cache/redis, frozen");
    group.bench_function("embed-cache Cached", |bencher| {
        bencher.iter(|| {
            let request = EmbedRequest::new([format!("text {}", texts.next().unwrap())], Role::Document);
            black_box(runtime.block_on(cached.embed(request)).unwrap().into_complete().unwrap());
        });
    });
    group.finish();
    server.thaw();
}

criterion_group!(benches, rows, frozen);
criterion_main!(benches);
