//! The Redis tier with a real cluster, with a master behind sentinels, and two Redis tiers in one cache.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use embed_cache::{Cache, CacheConfig, Cached, Key, Namespace, RedisTier, Tier};
use embed_core::ErrorKind;
use embed_testkit::Scripted;
use embed_testkit::redis::{RedisCluster, RedisOptions, RedisSentinels, RedisServer, Reply};
use tokio::time::timeout;

use crate::double::{right, sources};
use crate::redis::{
    PATIENCE, config, connected, entries, eventually, found, impatient, keys, name, tier, value,
};

#[tokio::test]
async fn a_cluster_is_written_read_counted_and_cleared() {
    let Some(cluster) = RedisCluster::require().await else { return };
    let tier = tier(&cluster.url()).await;
    let keys = keys("m[a]", 3000);
    tier.put_many(&entries(&keys)).await.unwrap();
    tier.put_many(&entries(&self::keys("n", 300))).await.unwrap();
    assert_eq!(found(&tier, &keys).await, 3000);
    for master in &cluster.masters {
        assert!(master.tell("DBSIZE").number() > 800, "all masters have keys");
    }
    let census = tier.census().await.unwrap();
    assert_eq!((census.variants["m[a]"], census.variants["n"]), (3000, 300));
    assert_eq!(tier.stats().await.unwrap().entries, Some(3300));
    tier.remove(&keys[..1000]).await.unwrap();
    assert_eq!(found(&tier, &keys).await, 2000);
    tier.clear(Some(&Namespace::named("m[a]"))).await.unwrap();
    assert_eq!(found(&tier, &keys).await, 0);
    assert_eq!(tier.stats().await.unwrap().entries, Some(300));
    tier.clear(None).await.unwrap();
    assert_eq!(tier.stats().await.unwrap().entries, Some(0));
}

/// A request to a cluster is pipelined to each master.
#[tokio::test]
async fn a_request_to_a_cluster_is_one_round_trip() {
    let Some(cluster) = RedisCluster::require().await else { return };
    let tier = connected(config(&cluster.url()).with_connect_timeout(Duration::from_secs(60))).await;
    let keys = keys("m", 300);
    tier.put_many(&entries(&keys)).await.unwrap();
    // While one master is frozen, the others execute all their commands.
    let [frozen, awake @ ..] = &cluster.masters;
    let before: u64 = awake.iter().map(|master| master.calls("get")).sum();
    let theirs: i64 = awake.iter().map(|master| master.tell("DBSIZE").number()).sum();
    frozen.freeze();
    let read = found(&tier, &keys);
    tokio::pin!(read);
    let all_carried_out = async {
        eventually(async || {
            let calls: u64 = awake.iter().map(|master| master.calls("get")).sum();
            match i64::try_from(calls - before) {
                Ok(carried_out) if carried_out == theirs => Ok(()),
                _ => Err(embed_core::Error::new(ErrorKind::Internal, "not yet")),
            }
        })
        .await;
    };
    tokio::select! {
        _ = &mut read => panic!("one master is frozen"),
        () = all_carried_out => {}
    }
    frozen.thaw();
    assert_eq!(read.await, 300);
    assert_eq!(frozen.calls("get"), u64::try_from(300 - theirs).unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_moves_while_it_is_read() {
    let Some(cluster) = RedisCluster::require().await else { return };
    let tier = Arc::new(tier(&cluster.url()).await);
    let keys = keys("m", 400);
    tier.put_many(&entries(&keys)).await.unwrap();
    let (done, reads) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let readers: Vec<_> = (0..8)
        .map(|reader: usize| {
            let (tier, keys) = (Arc::clone(&tier), keys.clone());
            let (done, reads) = (Arc::clone(&done), Arc::clone(&reads));
            tokio::spawn(async move {
                let mut lacking = 0;
                for at in (reader * 37..).step_by(20) {
                    if done.load(Ordering::Relaxed) {
                        break;
                    }
                    let some: Vec<_> = (at..at + 20).map(|i| keys[i % keys.len()].clone()).collect();
                    // Panics on a wrong value or a failure.
                    lacking += some.len() - found(&tier, &some).await;
                    reads.fetch_add(1, Ordering::Relaxed);
                }
                lacking
            })
        })
        .collect();
    let slots: Vec<u16> = keys[..10].iter().map(|key| cluster.slot(&name(key))).collect();
    for slot in slots {
        let from = RedisCluster::first_owner(slot);
        let to = (from + 1) % 3;
        cluster.begin_move(slot, from, to);
        let so_far = reads.load(Ordering::Relaxed);
        while cluster.move_keys(slot, from, to, 1) > 0 {}
        // Requests find the slot at the old node while its keys are already at the new one.
        eventually(async || match reads.load(Ordering::Relaxed) - so_far {
            0..20 => Err(embed_core::Error::new(ErrorKind::Internal, "not yet")),
            _ => Ok(()),
        })
        .await;
        cluster.end_move(slot, to);
    }
    done.store(true, Ordering::Relaxed);
    let lacking: usize = futures::future::try_join_all(readers).await.unwrap().into_iter().sum();
    assert!(lacking > 0, "no request came while a slot moved");
    let all_found = async || match found(&tier, &keys).await {
        400 => Ok(()),
        _ => Err(embed_core::Error::new(ErrorKind::Internal, "some are still missing")),
    };
    eventually(all_found).await;
    eventually(async || tier.put_many(&entries(&keys)).await).await;
}

#[tokio::test]
async fn a_master_of_a_cluster_goes_and_comes_back() {
    let Some(mut cluster) = RedisCluster::require().await else { return };
    let tier = connected(impatient(&cluster.url())).await;
    let keys = keys("m", 100);
    tier.put_many(&entries(&keys)).await.unwrap();
    cluster.masters[1].freeze();
    timeout(Duration::from_millis(100), tier.get_many(&keys)).await.unwrap_err();
    cluster.masters[1].thaw();
    eventually(async || tier.get_many(&keys).await).await;
    assert_eq!(found(&tier, &keys).await, 100);
    cluster.masters[2].stop();
    let error = tier.get_many(&keys).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    cluster.masters[2].restart().await;
    eventually(async || tier.get_many(&keys).await).await;
    eventually(async || tier.put_many(&entries(&keys)).await).await;
    assert_eq!(found(&tier, &keys).await, 100);
}

/// A replica of the cluster's first master.
async fn replica_of_first(cluster: &RedisCluster) -> RedisServer {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let options = RedisOptions::default()
        .with("cluster-enabled", "yes")
        .with("cluster-port", free)
        .with("cluster-node-timeout", 2000)
        .with("cluster-replica-validity-factor", 0);
    let replica = RedisServer::start(options).await.unwrap();
    let first = &cluster.masters[0];
    let id = first.tell("CLUSTER MYID").text();
    let bus = first.tell("CONFIG GET cluster-port").list()[1].text();
    replica.tell(&format!("CLUSTER MEET 127.0.0.1 {} {bus}", first.port()));
    let not_yet = || embed_core::Error::new(ErrorKind::Internal, "not yet");
    eventually(async || {
        let joined = replica.command(&["CLUSTER", "REPLICATE", &id]);
        if matches!(joined, Reply::Error(_)) { Err(not_yet()) } else { Ok(()) }
    })
    .await;
    eventually(async || {
        let all_know =
            cluster.masters.iter().all(|master| master.tell("CLUSTER NODES").text().contains("slave"));
        let in_step = replica.info("master_link_status") == "up";
        if all_know && in_step { Ok(()) } else { Err(not_yet()) }
    })
    .await;
    replica
}

/// The node in the URL dies for good and its replica takes over; the other known nodes lead to it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_node_that_the_url_names_dies_and_its_replica_takes_over() {
    let Some(mut cluster) = RedisCluster::require().await else { return };
    let replica = replica_of_first(&cluster).await;
    let tier =
        connected(impatient(&format!("redis-cluster://127.0.0.1:{}", cluster.masters[0].port()))).await;
    let keys = keys("m", 100);
    tier.put_many(&entries(&keys)).await.unwrap();
    cluster.masters[0].tell("WAIT 1 5000");
    cluster.masters[0].stop();
    let took_over = || replica.info("role") == "master";
    let not_yet = || embed_core::Error::new(ErrorKind::Internal, "not yet");
    eventually(async || if took_over() { Ok(()) } else { Err(not_yet()) }).await;
    let values = eventually(async || tier.get_many(&keys).await).await;
    assert!(values.iter().flatten().count() > 50, "the other masters still have their keys");
    eventually(async || tier.put_many(&entries(&keys)).await).await;
    assert_eq!(found(&tier, &keys).await, 100);
}

#[tokio::test]
async fn sentinels_lead_to_the_current_master() {
    let Some(mut sentinels) = RedisSentinels::require().await else { return };
    let tier = connected(impatient(&sentinels.url())).await;
    let keys = keys("m", 20);
    tier.put_many(&entries(&keys)).await.unwrap();
    assert_eq!(found(&tier, &keys).await, 20);
    assert_eq!(sentinels.master(), Some(0));
    // By command: the old master becomes a replica, which accepts no writes.
    sentinels.fail_over().await;
    stores_and_finds(&tier, &keys).await;
    // By death.
    sentinels.servers[1].stop();
    sentinels.has_another_master(Some(1)).await;
    stores_and_finds(&tier, &keys).await;
}

/// A frozen master whose socket is full, so that the client can't even write.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_lead_away_from_a_frozen_master_with_a_full_socket() {
    let Some(sentinels) = RedisSentinels::require().await else { return };
    let tier = connected(impatient(&sentinels.url())).await;
    let keys = keys("m", 1000);
    tier.put_many(&entries(&keys)).await.unwrap();
    sentinels.servers[0].freeze();
    let large: Vec<_> =
        keys.iter().map(|key| (key.clone(), embed_cache::Value::from_bytes(vec![0; 32 << 10]))).collect();
    for _ in 0..2 {
        timeout(Duration::from_millis(200), tier.put_many(&large)).await.unwrap_err();
    }
    sentinels.has_another_master(Some(0)).await;
    stores_and_finds(&tier, &keys).await;
    sentinels.servers[0].thaw();
    stores_and_finds(&tier, &keys).await;
}

/// Waits until the tier works again. A sentinel closes the connections to a server whose role has changed, so after a
/// call that succeeds the next one may fail.
async fn stores_and_finds(tier: &RedisTier, keys: &[Key]) {
    let stuck = |_| embed_core::Error::new(ErrorKind::Timeout, "it doesn't answer");
    let limit = Duration::from_millis(500);
    let values = eventually(async || {
        timeout(limit, tier.put_many(&entries(keys))).await.map_err(stuck)??;
        let values: Option<Vec<_>> =
            timeout(limit, tier.get_many(keys)).await.map_err(stuck)??.into_iter().collect();
        // Writes that a demoted master accepts before it learns of that are lost.
        values.ok_or_else(|| embed_core::Error::new(ErrorKind::Unavailable, "a value is lost"))
    })
    .await;
    assert!(keys.iter().map(value).eq(values), "another key's value");
}

/// A cache can have two Redis tiers if their names differ.
#[tokio::test]
async fn two_servers_have_two_names() {
    let Some(server) = RedisServer::require(RedisOptions::default()).await else { return };
    let settings = CacheConfig::default().with_read_budget(PATIENCE);
    let tier = async |name: &str| {
        Arc::new(connected(config(&server.url()).with_name(name).with_prefix(name)).await) as Arc<dyn Tier>
    };
    let tiers = vec![tier("near").await, tier("far").await];
    let service = Cached::new(Scripted::new("e5", 8), Cache::new(settings, tiers).unwrap());
    right(&service, &["a"]).await;
    service.cache().flush(Duration::from_secs(5)).await.unwrap();
    assert_eq!(sources(&right(&service, &["a"]).await), ["near"]);
    let names: Vec<_> = service.stats().await.tiers.into_iter().map(|tier| tier.name).collect();
    assert_eq!(names, ["near".into(), "far".into()]);
    let twice = vec![tier("near").await, tier("near").await];
    assert_eq!(Cache::new(settings, twice).unwrap_err().kind(), ErrorKind::Config);
}
