//! Requests while a real Redis is killed, frozen, filled, emptied, paused, corrupted, demoted, failed over or resharded:
//! every row stays right, no request fails, and the tier is used again once it is healthy. The tests in `tiers` check in
//! virtual time that none waits longer than the budget.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use embed_cache::{Cache, CacheConfig, Cached, RedisTier, Tier, TierReport};
use embed_core::{BreakerConfig, EmbedRequest, Embedder, Role};
use embed_testkit::Scripted;
use embed_testkit::redis::{RedisCluster, RedisOptions, RedisSentinels, RedisServer};
use tokio::time::timeout;

use crate::redis::{PATIENCE, impatient};

/// How long a read of Redis may delay a request.
const BUDGET: Duration = Duration::from_millis(25);

/// Concurrent callers.
const CALLERS: usize = 4;

/// Texts that are requested repeatedly; each request has a few of them and a new one.
const TEXTS: usize = 100;

/// Requests that are sent until the end of a test.
struct Traffic {
    service: Arc<Cached<Scripted>>,
    shared: Arc<Shared>,
    callers: Vec<tokio::task::JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    over: AtomicBool,
    requests: AtomicUsize,
    /// Rows that came from Redis.
    hits: AtomicUsize,
}

impl Traffic {
    /// Starts the requests, and waits until rows come from Redis.
    async fn start(url: &str) -> Self {
        let tier = RedisTier::connect(impatient(url)).unwrap();
        tier.ready(PATIENCE).await.unwrap();
        // Trials are so frequent that a test needn't wait long for them.
        let breaker =
            BreakerConfig::default().with_pauses(Duration::from_millis(100), Duration::from_millis(200));
        let settings = CacheConfig::default().with_read_budget(BUDGET).with_breaker(breaker);
        let cache = Cache::new(settings, vec![Arc::new(tier) as Arc<dyn Tier>]).unwrap();
        let service = Arc::new(Cached::new(Scripted::new("model", 384), cache));
        let shared = Arc::<Shared>::default();
        let callers = (0..CALLERS)
            .map(|caller| tokio::spawn(call_on(caller, Arc::clone(&service), Arc::clone(&shared))))
            .collect();
        let traffic = Self { service, shared, callers };
        traffic.uses_redis().await;
        traffic
    }

    /// Waits until this many more requests were answered.
    async fn requests(&self, more: usize) {
        let until = self.shared.requests.load(Ordering::Relaxed) + more;
        self.wait("requests are answered", async || self.shared.requests.load(Ordering::Relaxed) >= until)
            .await;
    }

    /// Waits until many more rows have come from Redis.
    async fn uses_redis(&self) {
        let until = self.shared.hits.load(Ordering::Relaxed) + 50;
        self.wait("rows come from Redis", async || self.shared.hits.load(Ordering::Relaxed) >= until).await;
    }

    /// Waits until a count of the tier is higher than before.
    async fn counts(&self, what: &str, count: impl Fn(&TierReport) -> u64) {
        let before = count(&self.report().await);
        self.wait(what, async || count(&self.report().await) > before).await;
    }

    async fn report(&self) -> TierReport {
        self.service.stats().await.tiers.remove(0)
    }

    async fn wait(&self, what: &str, is_so: impl AsyncFn() -> bool) {
        let until_so = async {
            while !is_so().await {
                assert!(!self.callers.iter().any(tokio::task::JoinHandle::is_finished), "a request failed");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if timeout(PATIENCE, until_so).await.is_err() {
            panic!("waited in vain for: {what}: {:?}", self.report().await);
        }
    }

    /// Ends the requests, of which none failed.
    async fn end(self) {
        self.shared.over.store(true, Ordering::Relaxed);
        for caller in self.callers {
            caller.await.unwrap();
        }
    }
}

/// Sends requests and checks every row.
async fn call_on(caller: usize, service: Arc<Cached<Scripted>>, shared: Arc<Shared>) {
    let mut pace = tokio::time::interval(Duration::from_millis(2));
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for round in 0.. {
        if shared.over.load(Ordering::Relaxed) {
            return;
        }
        pace.tick().await;
        let mut texts: Vec<String> =
            (0..8).map(|i| format!("text {}", (caller * 31 + round * 7 + i) % TEXTS)).collect();
        texts.push(format!("new text {round} of {caller}"));
        // Both roles request the same texts, but their vectors differ.
        let role = [Role::Query, Role::Document][round % 2];
        let request = EmbedRequest::new(texts.iter().map(String::as_str), role);
        let response = service.embed(request).await.unwrap();
        assert_eq!(response.len(), texts.len());
        for (row, text) in response.rows().zip(&texts) {
            let row = row.unwrap();
            assert_eq!(row.vector(), service.inner().vector(text, role), "another text's vector");
            shared.hits.fetch_add(usize::from(row.info().tier.is_some()), Ordering::Relaxed);
        }
        shared.requests.fetch_add(1, Ordering::Relaxed);
    }
}

/// The sum of the counts of some reasons.
fn of(reasons: &BTreeMap<&'static str, u64>, some: &[&str]) -> u64 {
    some.iter().filter_map(|reason| reasons.get(reason)).sum()
}

fn missed(some: &[&str]) -> impl Fn(&TierReport) -> u64 {
    move |report| of(&report.misses, some)
}

fn unstored(some: &[&str]) -> impl Fn(&TierReport) -> u64 {
    move |report| of(&report.unstored, some)
}

async fn server() -> Option<RedisServer> {
    RedisServer::require(RedisOptions::default()).await
}

// Two threads in each test, because the rig's commands block their thread.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_and_started_again_empty() {
    let Some(mut server) = server().await else { return };
    let traffic = Traffic::start(&server.url()).await;
    for _ in 0..2 {
        server.stop();
        traffic.counts("misses because it is down", missed(&["unavailable"])).await;
        traffic.requests(300).await;
        server.restart().await;
        traffic.uses_redis().await;
    }
    traffic.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frozen() {
    let Some(server) = server().await else { return };
    let traffic = Traffic::start(&server.url()).await;
    // For a moment, so that its connections stay, and for longer.
    for requests in [100, 1000] {
        server.freeze();
        // A timeout or, once the client has given up the connection, no connection.
        traffic.counts("misses because it is frozen", missed(&["timeout", "unavailable"])).await;
        traffic.requests(requests).await;
        server.thaw();
        traffic.uses_redis().await;
    }
    assert_eq!(of(&traffic.report().await.misses, &["checksum", "layout", "schema", "dimension"]), 0);
    traffic.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paused() {
    let Some(server) = server().await else { return };
    let traffic = Traffic::start(&server.url()).await;
    server.tell("CLIENT PAUSE 1500 ALL");
    traffic.counts("misses because it is too slow", missed(&["timeout"])).await;
    traffic.uses_redis().await;
    // Only writes are paused: reads go on.
    server.tell("CLIENT PAUSE 1500 WRITE");
    traffic.requests(100).await;
    traffic.uses_redis().await;
    traffic.counts("rows stored again", |report| report.stored).await;
    traffic.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_and_not_allowed_to_make_room() {
    let Some(server) = server().await else { return };
    let traffic = Traffic::start(&server.url()).await;
    server.tell("CONFIG SET maxmemory 100kb");
    traffic.counts("writes refused because it is full", unstored(&["overloaded"])).await;
    // It can still be read.
    traffic.requests(300).await;
    traffic.uses_redis().await;
    server.tell("CONFIG SET maxmemory 0");
    traffic.counts("rows stored again", |report| report.stored).await;
    traffic.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_and_making_room() {
    let Some(server) = server().await else { return };
    let traffic = Traffic::start(&server.url()).await;
    server.tell("CONFIG SET maxmemory-policy allkeys-lru");
    let used: u64 = server.info("used_memory").parse().unwrap();
    server.tell(&format!("CONFIG SET maxmemory {}", used + 100_000));
    traffic.counts("evictions", |report| report.holds.map_or(0, |holds| holds.evicted)).await;
    traffic.requests(500).await;
    traffic.uses_redis().await;
    assert_eq!(of(&traffic.report().await.unstored, &["overloaded"]), 0);
    traffic.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bits_turned_over() {
    let Some(server) = server().await else { return };
    let traffic = Traffic::start(&server.url()).await;
    for _ in 0..3 {
        assert!(server.flip_bits(b"embed:") > 50);
        traffic.counts("misses because of checksums", missed(&["checksum"])).await;
        traffic.requests(100).await;
        traffic.uses_redis().await;
    }
    traffic.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn made_a_replica() {
    let Some(master) = server().await else { return };
    let Some(server) = server().await else { return };
    let traffic = Traffic::start(&server.url()).await;
    server.tell(&format!("REPLICAOF 127.0.0.1 {}", master.port()));
    traffic.counts("writes refused by the replica", unstored(&["unavailable"])).await;
    traffic.requests(500).await;
    server.tell("REPLICAOF NO ONE");
    traffic.counts("rows stored again", |report| report.stored).await;
    traffic.uses_redis().await;
    traffic.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_over() {
    let Some(mut sentinels) = RedisSentinels::require().await else { return };
    let traffic = Traffic::start(&sentinels.url()).await;
    // By command, and by the death of the new master.
    sentinels.fail_over().await;
    traffic.counts("rows stored again", |report| report.stored).await;
    traffic.uses_redis().await;
    assert_eq!(sentinels.master(), Some(1));
    sentinels.servers[1].stop();
    // Requests in flight may time out, and later ones may find the breaker open until there is another master.
    traffic.counts("misses without a master", missed(&["timeout", "unavailable", "breaker_open"])).await;
    sentinels.has_another_master(Some(1)).await;
    traffic.counts("rows stored again", |report| report.stored).await;
    traffic.uses_redis().await;
    traffic.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resharded() {
    let Some(cluster) = RedisCluster::require().await else { return };
    let traffic = Traffic::start(&cluster.url()).await;
    // Slots of texts that are requested all the time, and are all stored sooner or later.
    traffic.requests(200).await;
    let keys = cluster.masters.iter().flat_map(RedisServer::keys);
    let slots: Vec<u16> = keys.step_by(20).take(20).map(|key| cluster.slot(&key)).collect();
    for slot in slots {
        let from = RedisCluster::first_owner(slot);
        let to = (from + 1) % 3;
        cluster.begin_move(slot, from, to);
        traffic.requests(10).await;
        while cluster.move_keys(slot, from, to, 1) > 0 {}
        traffic.requests(10).await;
        cluster.end_move(slot, to);
        traffic.requests(10).await;
    }
    traffic.uses_redis().await;
    traffic.counts("rows stored", |report| report.stored).await;
    assert_eq!(of(&traffic.report().await.misses, &["checksum", "layout", "schema", "dimension"]), 0);
    traffic.end().await;
}
