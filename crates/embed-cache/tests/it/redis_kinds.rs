//! A server of another kind than the URL says, or one that accepts no writes, is reported in one clear sentence.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use embed_cache::{Cache, CacheConfig, Cached, RedisTier, Tier};
use embed_core::{Error, ErrorKind, Result};
use embed_testkit::Scripted;
use embed_testkit::redis::{RedisCluster, RedisOptions, RedisSentinels, RedisServer};

use crate::double::documents;
use crate::redis::{PATIENCE, eventually, impatient, keys, tier};

/// Connects to a server and checks it.
async fn look(url: &str) -> Result<()> {
    let tier = RedisTier::connect(impatient(url))?;
    tier.ready(PATIENCE).await?;
    tier.check().await
}

async fn refused(url: &str, says: &str) -> Error {
    let error = look(url).await.unwrap_err();
    assert!(error.to_string().contains(says), "{url}: {error}");
    error
}

/// The tier's report says the same after requests.
async fn reported(url: &str, says: &str) {
    let tier = RedisTier::connect(impatient(url)).unwrap();
    let _ = tier.ready(Duration::from_secs(2)).await;
    let cache =
        Cache::new(CacheConfig::default().with_read_budget(PATIENCE), vec![Arc::new(tier) as Arc<dyn Tier>]);
    let cached = Cached::new(Scripted::new("model", 8), cache.unwrap());
    eventually(async || {
        embed_core::Embedder::embed(&cached, documents(["one", "two", "three"])).await.unwrap();
        let report = cached.cache().counted().tiers.remove(0);
        match report.read_fault {
            Some(fault) if fault.contains(says) => Ok(()),
            other => Err(Error::new(ErrorKind::Internal, format!("{other:?}"))),
        }
    })
    .await;
}

#[tokio::test]
async fn a_node_of_a_cluster_is_no_single_server() {
    let Some(cluster) = RedisCluster::require().await else { return };
    let url = cluster.masters[0].url();
    assert_eq!(refused(&url, "redis-cluster://").await.kind(), ErrorKind::Config);
    reported(&url, "redis-cluster://").await;
    look(&cluster.url()).await.unwrap();
}

#[tokio::test]
async fn a_single_server_is_no_cluster_and_no_sentinel() {
    let Some(server) = RedisServer::require(RedisOptions::default()).await else { return };
    let port = server.port();
    let url = format!("redis-cluster://127.0.0.1:{port}");
    assert_eq!(refused(&url, "has to begin with redis://").await.kind(), ErrorKind::Config);
    reported(&url, "has to begin with redis://").await;
    let url = format!("redis-sentinel://127.0.0.1:{port}?sentinelServiceName=m");
    assert_eq!(refused(&url, "isn't a sentinel").await.kind(), ErrorKind::Config);
    reported(&url, "isn't a sentinel").await;
    look(&server.url()).await.unwrap();
    assert_eq!(server.keys(), Vec::<Vec<u8>>::new(), "a check leaves nothing behind");
}

#[tokio::test]
async fn a_sentinel_is_no_server() {
    let Some(sentinels) = RedisSentinels::require().await else { return };
    let url = sentinels.url().replace("redis-sentinel://", "redis://");
    let url = url.split('?').next().unwrap();
    assert_eq!(refused(url, "redis-sentinel://").await.kind(), ErrorKind::Config);
}

#[tokio::test]
async fn a_server_that_is_not_redis_is_reported() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
        }
    });
    refused(&url, "isn't Redis").await;
}

#[tokio::test]
async fn a_server_that_accepts_no_writes_is_reported() {
    let Some(master) = RedisServer::require(RedisOptions::default()).await else { return };
    let of_master = RedisOptions::default().with("replicaof", format!("127.0.0.1 {}", master.port()));
    let Some(replica) = RedisServer::require(of_master).await else { return };
    refused(&replica.url(), "replica").await;
    let full = RedisOptions::default().with("maxmemory", "100kb").with("maxmemory-policy", "noeviction");
    let Some(full) = RedisServer::require(full).await else { return };
    refused(&full.url(), "raise its maxmemory").await;
    // It can still be read.
    let tier = tier(&full.url()).await;
    tier.check_reads().await.unwrap();
}

#[tokio::test]
async fn a_missing_server_is_reported_in_words() {
    let Some(mut server) = RedisServer::require(RedisOptions::default()).await else { return };
    let url = server.url();
    server.stop();
    let tier = RedisTier::connect(impatient(&url)).unwrap();
    let error = tier.ready(Duration::from_secs(1)).await.unwrap_err();
    assert!(error.to_string().contains("cause: connection refused"), "{error}");
    assert!(!error.to_string().contains(['{', '}']), "{error}");
}

/// The permissions listed in the error message are enough for everything that the tier does.
#[tokio::test]
async fn the_commands_that_the_message_lists_are_enough() {
    let rules = "on >pass ~embed:* -@all +mget +get +set +unlink +scan +ping";
    let options = RedisOptions { user: Some(("cache".into(), rules.into())), ..RedisOptions::default() };
    let Some(server) = RedisServer::require(options).await else { return };
    let tier = tier(&format!("redis://cache:pass@127.0.0.1:{}", server.port())).await;
    tier.check().await.unwrap();
    let keys = keys("m", 5);
    tier.put_many(&crate::redis::entries(&keys)).await.unwrap();
    assert_eq!(tier.census().await.unwrap().variants["m"], 5);
    let stats = tier.stats().await.unwrap();
    assert_eq!((stats.entries, stats.bytes), (None, None), "figures without permission are left out");
    tier.clear(None).await.unwrap();
    assert_eq!(crate::redis::found(&tier, &keys).await, 0);
}

/// Other sections of `INFO` cost a large server milliseconds.
#[tokio::test]
async fn only_the_necessary_sections_are_requested() {
    let Some(server) = RedisServer::require(RedisOptions::default()).await else { return };
    let tier = tier(&server.url()).await;
    let before = server.calls("info");
    let stats = tier.stats().await.unwrap();
    assert!(stats.bytes.is_some());
    // Plus the one with which the rig counts.
    assert_eq!(server.calls("info") - before, 2 + 1);
}
