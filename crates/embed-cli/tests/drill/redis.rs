//! Scenes about Redis, which is a cache: whatever becomes of it, callers are answered, and with their own rows.

use embed_testkit::ollama::OllamaDouble;
use embed_testkit::redis::{RedisOptions, RedisSentinels, RedisServer};

use crate::drill::Drill;
use crate::http::{metric, until};
use crate::load::Load;
use crate::serving::Serving;
use crate::texts::Texts;

/// A gateway whose every row goes through Redis.
struct Rig {
    drill: Drill,
    redis: RedisServer,
    serving: Serving,
    load: Load,
    _ollama: OllamaDouble,
}

impl Rig {
    async fn start(name: &'static str) -> Option<Self> {
        let redis = RedisServer::require(RedisOptions::default()).await?;
        let drill = Drill::begin(name).await;
        let ollama = OllamaDouble::start("0.9.3").await;
        let (base, url) = (ollama.url(), redis.url());
        let variables =
            [("TMWS_OLLAMA_API_BASE", &*base), ("TMWS_REDIS_URL", &*url), ("TMWS_CACHE", "redis")];
        let serving = Serving::start(&["--service", "ollama"], &variables);
        let load = Load::start(&[serving.url()], Texts::of_double(), None);
        Some(Self { drill, redis, serving, load, _ollama: ollama })
    }

    /// Waits until Redis is used as it should be.
    async fn used(&self) {
        self.load.answers(50).await;
        until("rows are stored", async || !self.redis.keys().is_empty()).await;
    }

    /// Waits until Redis is left alone, and goes on for a while.
    async fn left_alone(&self) {
        until("Redis is left alone", async || is_open(&self.serving).await).await;
        self.load.answers(50).await;
    }

    /// Nobody was refused: a cache is no reason to.
    fn end(mut self) {
        self.drill.take(self.load, &[]);
        self.drill.write();
    }
}

/// Whether Redis isn't asked, because its last calls failed.
async fn is_open(serving: &Serving) -> bool {
    metric(serving.url(), "tmws_breakers", &["part=\"redis\"", "state=\"open\""]).await == 1.0
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_paused() {
    let Some(mut rig) = Rig::start("Redis is paused").await else { return };
    while rig.drill.goes_on() {
        rig.used().await;
        rig.redis.freeze();
        rig.left_alone().await;
        rig.redis.thaw();
        let used = async || !is_open(&rig.serving).await;
        rig.drill.well(&rig.load, "Redis is used again", used).await;
        rig.drill.weigh(&[&rig.serving]);
    }
    rig.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_killed_and_comes_back_empty() {
    let Some(mut rig) = Rig::start("Redis is killed and comes back empty").await else { return };
    while rig.drill.goes_on() {
        rig.used().await;
        rig.redis.stop();
        rig.left_alone().await;
        rig.redis.restart().await;
        let used = async || !is_open(&rig.serving).await && !rig.redis.keys().is_empty();
        rig.drill.well(&rig.load, "rows are stored again", used).await;
        rig.drill.weigh(&[&rig.serving]);
    }
    rig.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_wiped() {
    let Some(mut rig) = Rig::start("Redis is wiped").await else { return };
    while rig.drill.goes_on() {
        rig.used().await;
        rig.redis.tell("FLUSHALL");
        let used = async || !rig.redis.keys().is_empty();
        rig.drill.well(&rig.load, "rows are stored again", used).await;
        rig.drill.weigh(&[&rig.serving]);
    }
    rig.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_of_another_kind() {
    let Some(mut rig) = Rig::start("a node of a cluster is where Redis was").await else { return };
    while rig.drill.goes_on() {
        rig.used().await;
        rig.redis.stop();
        rig.redis.restart_as(RedisOptions::default().with("cluster-enabled", "yes")).await;
        rig.left_alone().await;
        assert!(rig.redis.keys().is_empty());
        rig.redis.stop();
        rig.redis.restart_as(RedisOptions::default()).await;
        let used = async || !is_open(&rig.serving).await && !rig.redis.keys().is_empty();
        rig.drill.well(&rig.load, "rows are stored again", used).await;
        rig.drill.weigh(&[&rig.serving]);
    }
    rig.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_full() {
    let Some(mut rig) = Rig::start("Redis is full").await else { return };
    while rig.drill.goes_on() {
        rig.used().await;
        rig.redis.tell("CONFIG RESETSTAT");
        rig.redis.tell("CONFIG SET maxmemory 1");
        let refuses = || rig.redis.tell("INFO errorstats").text().contains("errorstat_OOM");
        until("Redis refuses to store", async || refuses()).await;
        rig.load.answers(50).await;
        rig.redis.tell("CONFIG SET maxmemory 0");
        let stored = rig.redis.keys().len();
        let used = async || !is_open(&rig.serving).await && rig.redis.keys().len() > stored;
        rig.drill.well(&rig.load, "rows are stored again", used).await;
        rig.drill.weigh(&[&rig.serving]);
    }
    rig.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_fails_over() {
    let Some(mut sentinels) = RedisSentinels::require().await else { return };
    let mut drill = Drill::begin("the master of Redis dies, and its replica takes over").await;
    let ollama = OllamaDouble::start("0.9.3").await;
    let (base, url) = (ollama.url(), sentinels.url());
    let variables = [("TMWS_OLLAMA_API_BASE", &*base), ("TMWS_REDIS_URL", &*url), ("TMWS_CACHE", "redis")];
    let serving = Serving::start(&["--service", "ollama"], &variables);
    let load = Load::start(&[serving.url()], Texts::of_double(), None);
    let mut dead: Option<usize> = None;
    while drill.goes_on() {
        if let Some(dead) = dead {
            sentinels.servers[dead].restart().await;
            let follows =
                || sentinels.servers[dead].tell("INFO replication").text().contains("master_link_status:up");
            until("the dead one is a replica", async || follows()).await;
        }
        let before = sentinels.master();
        let (old, new) = if before == Some(0) { (0, 1) } else { (1, 0) };
        load.answers(50).await;
        until("rows are stored", async || !sentinels.servers[old].keys().is_empty()).await;
        sentinels.servers[old].stop();
        load.answers(20).await;
        sentinels.has_another_master(before).await;
        let stored = sentinels.servers[new].keys().len();
        let used = async || !is_open(&serving).await && sentinels.servers[new].keys().len() > stored;
        drill.well(&load, "rows are stored at the new master", used).await;
        drill.weigh(&[&serving]);
        dead = Some(old);
    }
    drill.take(load, &[]);
    drill.write();
}
