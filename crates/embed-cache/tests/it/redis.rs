//! The Redis tier with one real server.

use std::sync::Arc;
use std::time::Duration;

use embed_cache::{Key, Namespace, RedisConfig, RedisTier, Tier, Value};
use embed_core::{Error, ErrorKind, Role, Truncation};
use embed_testkit::redis::{RedisOptions, RedisServer, Reply};
use tokio::time::timeout;

/// Much longer than anything should take, even on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Settings that outlast a pause of a busy machine: a server that still runs is never given up.
pub(crate) fn config(url: &str) -> RedisConfig {
    RedisConfig::new(url.parse().unwrap()).with_connect_timeout(Duration::from_secs(20))
}

/// Settings for tests with a server that freezes or dies, which is given up soon.
pub(crate) fn impatient(url: &str) -> RedisConfig {
    config(url).with_connect_timeout(Duration::from_millis(500))
}

/// A tier that is connected.
pub(crate) async fn tier(url: &str) -> RedisTier {
    connected(config(url)).await
}

pub(crate) async fn connected(config: RedisConfig) -> RedisTier {
    let tier = RedisTier::connect(config).unwrap();
    tier.ready(PATIENCE).await.unwrap();
    tier
}

pub(crate) fn keys(variant: &str, count: usize) -> Vec<Key> {
    let namespace = Namespace::named(variant);
    let key = |i: usize| Key::new(&namespace, Role::Document, Truncation::End, &format!("text {i}"));
    (0..count).map(key).collect()
}

/// The value for a key, different for each key.
pub(crate) fn value(key: &Key) -> Value {
    Value::from_bytes(key.digest().repeat(8))
}

pub(crate) fn entries(keys: &[Key]) -> Vec<(Key, Value)> {
    keys.iter().map(|key| (key.clone(), value(key))).collect()
}

/// How many of the keys have their value. Panics on a wrong value.
pub(crate) async fn found(tier: &RedisTier, keys: &[Key]) -> usize {
    let values = tier.get_many(keys).await.unwrap();
    assert_eq!(values.len(), keys.len());
    let right = |(key, found): (&Key, &Option<Value>)| {
        found.as_ref().is_some_and(|found| {
            assert_eq!(*found, value(key), "another key's value");
            true
        })
    };
    keys.iter().zip(&values).filter(|pair| right(*pair)).count()
}

/// Retries until it succeeds: a recovered server is used again.
pub(crate) async fn eventually<T>(mut attempt: impl AsyncFnMut() -> Result<T, Error>) -> T {
    let mut last = None;
    let attempts = async {
        loop {
            match attempt().await {
                Ok(done) => return done,
                Err(error) => last = Some(error),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let done = timeout(PATIENCE, attempts).await;
    done.unwrap_or_else(|_| panic!("still: {last:?}"))
}

/// The name of a key in Redis.
pub(crate) fn name(key: &Key) -> Vec<u8> {
    [b"embed:", key.to_bytes().as_slice()].concat()
}

async fn server() -> Option<RedisServer> {
    RedisServer::require(RedisOptions::default()).await
}

#[tokio::test]
async fn what_is_put_is_got_until_it_is_removed() {
    let Some(server) = server().await else { return };
    let tier = tier(&server.url()).await;
    assert_eq!(tier.name(), "redis");
    assert!(!tier.is_local());
    let keys = keys("m", 40);
    assert_eq!(found(&tier, &keys).await, 0);
    tier.put_many(&entries(&keys[..30])).await.unwrap();
    assert_eq!(found(&tier, &keys).await, 30);
    tier.remove(&keys[10..40]).await.unwrap();
    assert_eq!(found(&tier, &keys).await, 10);
    assert_eq!(found(&tier, &keys[..10]).await, 10);
    // The new value replaces the old one.
    tier.put_many(&[(keys[0].clone(), Value::from_bytes(*b"new"))]).await.unwrap();
    assert_eq!(tier.get_many(&keys[..1]).await.unwrap(), [Some(Value::from_bytes(*b"new"))]);
    // Empty requests.
    assert_eq!(tier.get_many(&[]).await.unwrap(), []);
    tier.put_many(&[]).await.unwrap();
    tier.remove(&[]).await.unwrap();
    tier.ping().await.unwrap();
}

#[tokio::test]
async fn a_request_is_one_command_to_read_and_one_for_each_row_to_write() {
    let Some(server) = server().await else { return };
    let tier = tier(&server.url()).await;
    let keys = keys("m", 32);
    tier.put_many(&entries(&keys)).await.unwrap();
    assert_eq!(found(&tier, &keys).await, 32);
    let calls = |command| server.calls(command);
    assert_eq!((calls("mget"), calls("get"), calls("set")), (1, 0, 32));
    tier.remove(&keys).await.unwrap();
    assert_eq!(calls("unlink"), 1);
}

#[tokio::test]
async fn an_entry_lives_as_long_as_is_set_give_or_take_a_tenth() {
    let Some(server) = server().await else { return };
    let tier = connected(config(&server.url()).with_ttl(Duration::from_secs(1000))).await;
    let keys = keys("m", 50);
    tier.put_many(&entries(&keys)).await.unwrap();
    let left: Vec<i64> =
        keys.iter().map(|key| server.command(&[b"PTTL".to_vec(), name(key)]).number()).collect();
    // One second of tolerance for a slow machine.
    assert!(left.iter().all(|left| (899_000..=1_100_000).contains(left)), "{left:?}");
    let spread = left.iter().max().unwrap() - left.iter().min().unwrap();
    assert!(spread > 100_000, "they don't expire all at once: {spread}");
    let short = connected(config(&server.url()).with_ttl(Duration::from_millis(50))).await;
    short.put_many(&entries(&keys)).await.unwrap();
    let gone = async || match found(&short, &keys).await {
        0 => Ok(()),
        _ => Err(Error::new(ErrorKind::Internal, "some haven't expired")),
    };
    eventually(gone).await;
}

#[tokio::test]
async fn clearing_takes_one_namespace_and_no_other() {
    let Some(server) = server().await else { return };
    let tier = tier(&server.url()).await;
    let other = connected(config(&server.url()).with_prefix("embed2")).await;
    // Each would match the next one if special characters of patterns weren't escaped; the last one is so long that its
    // length isn't valid UTF-8.
    let long = "é[a-z]*".repeat(40);
    let variants = ["*", "a", "?", "b", "[ab]", "m\\", "m\\x", "m^", "m", "mm", long.as_str()];
    let of = |variant| keys(variant, 3);
    for variant in variants {
        tier.put_many(&entries(&of(variant))).await.unwrap();
    }
    other.put_many(&entries(&of("m"))).await.unwrap();
    server.tell("SET embed mine");
    server.tell("SET embedx:a mine");
    let mut left: Vec<&str> = variants.to_vec();
    for variant in ["?", "[ab]", "*", "m\\", &long] {
        tier.clear(Some(&Namespace::named(variant))).await.unwrap();
        left.retain(|other| *other != variant);
        let census = tier.census().await.unwrap();
        assert_eq!(census.variants.keys().map(String::as_str).collect::<Vec<_>>(), {
            let mut sorted = left.clone();
            sorted.sort_unstable();
            sorted
        });
        assert!(census.variants.values().all(|count| *count == 3));
    }
    // Entries of other versions are removed too; keys of other software stay.
    server.command(&[b"SET".as_slice(), b"embed:\x07later", b"x"]);
    assert_eq!(tier.census().await.unwrap().unknown, 1);
    tier.clear(None).await.unwrap();
    assert_eq!(tier.census().await.unwrap(), embed_cache::Census::default());
    assert_eq!(found(&other, &of("m")).await, 3);
    assert_eq!(server.tell("DBSIZE"), Reply::Number(5));
}

#[tokio::test]
async fn ten_thousand_keys_at_once() {
    let Some(server) = server().await else { return };
    let tier = tier(&server.url()).await;
    let keys = keys("m", 10_000);
    tier.put_many(&entries(&keys)).await.unwrap();
    assert_eq!(found(&tier, &keys).await, keys.len());
    assert_eq!(tier.census().await.unwrap().variants["m"], 10_000);
    let stats = tier.stats().await.unwrap();
    assert_eq!(stats.entries, Some(10_000));
    assert!(stats.bytes.unwrap() > 10_000 * 256);
    assert_eq!((stats.limit, stats.evicted), (None, 0));
    tier.clear(Some(&Namespace::named("m"))).await.unwrap();
    assert_eq!(tier.stats().await.unwrap().entries, Some(0));
}

#[tokio::test]
async fn a_long_text_has_a_short_key() {
    let Some(server) = server().await else { return };
    let tier = tier(&server.url()).await;
    let long = "あ".repeat((1 << 20) / 3);
    let key = Key::new(&Namespace::named("m"), Role::Query, Truncation::End, &long);
    tier.put_many(&entries(std::slice::from_ref(&key))).await.unwrap();
    assert_eq!(found(&tier, std::slice::from_ref(&key)).await, 1);
    assert!(server.keys().iter().all(|key| key.len() < 100));
}

#[tokio::test]
async fn a_user_and_a_database() {
    let rules = "on >p@ss ~embed:* +mget +set +unlink +scan +ping +select";
    let options = RedisOptions {
        password: Some("master".to_owned()),
        user: Some(("cache".to_owned(), rules.to_owned())),
        ..RedisOptions::default()
    };
    let Some(server) = RedisServer::require(options).await else { return };
    let port = server.port();
    let tier = tier(&format!("redis://cache:p%40ss@127.0.0.1:{port}/3")).await;
    let keys = keys("m", 5);
    tier.put_many(&entries(&keys)).await.unwrap();
    assert_eq!(found(&tier, &keys).await, 5);
    assert_eq!(tier.census().await.unwrap().variants["m"], 5);
    assert!(server.info("db3").starts_with("keys=5,"));
    // Commands that the rules don't allow fail, which affects only the unknown figures.
    assert_eq!(tier.stats().await.unwrap(), embed_cache::TierStats::new());
    tier.clear(None).await.unwrap();
    let theirs =
        connected(config(&format!("redis://:master@127.0.0.1:{port}/3")).with_prefix("theirs")).await;
    theirs.put_many(&entries(&keys)).await.unwrap();
    let ours =
        RedisTier::connect(config(&format!("redis://cache:p%40ss@127.0.0.1:{port}/3")).with_prefix("theirs"))
            .unwrap();
    ours.ready(PATIENCE).await.unwrap();
    let error = ours.get_many(&keys).await.unwrap_err();
    assert_eq!((error.kind(), error.is_temporary()), (ErrorKind::Unauthorized, false));
}

#[tokio::test]
async fn ready_says_what_is_wrong() {
    let options = RedisOptions { password: Some("right".to_owned()), ..RedisOptions::default() };
    let Some(mut server) = RedisServer::require(options).await else { return };
    let port = server.port();
    let problem = async |url: String, limit: Duration| {
        let tier = RedisTier::connect(impatient(&url)).unwrap();
        let error = timeout(PATIENCE, tier.ready(limit)).await.expect("an answer").unwrap_err();
        let said = format!("{error} {error:?} {tier:?}");
        assert!(!said.contains("hush") && !said.contains("right"), "{said}");
        // A call reports the same reason, and not only that there is no connection.
        let refused = tier.get_many(&keys("m", 1)).await.unwrap_err();
        assert_eq!(refused.kind(), error.kind(), "{refused:?}");
        error.kind()
    };
    // If waiting doesn't help, the error comes at once.
    let hour = Duration::from_secs(3600);
    for address in [":hush@127.0.0.1", "u:hush@127.0.0.1", "127.0.0.1"] {
        assert_eq!(problem(format!("redis://{address}:{port}"), hour).await, ErrorKind::Unauthorized);
    }
    let no_database = problem(format!("redis://:right@127.0.0.1:{port}/99"), hour).await;
    assert_eq!(no_database, ErrorKind::Config);
    let no_cluster = problem(format!("redis-cluster://:right@127.0.0.1:{port}"), hour).await;
    assert_eq!(no_cluster, ErrorKind::Config);
    server.freeze();
    let short = Duration::from_secs(2);
    let silent = problem(format!("redis://:right@127.0.0.1:{port}"), short).await;
    assert_eq!(silent, ErrorKind::Timeout);
    server.thaw();
    server.stop();
    let refused = problem(format!("redis://:right@127.0.0.1:{port}"), short).await;
    assert_eq!(refused, ErrorKind::Unavailable);
}

#[tokio::test]
async fn a_server_that_is_not_there_at_the_start_is_used_when_it_comes() {
    let Some(mut server) = server().await else { return };
    server.stop();
    let tier = RedisTier::connect(impatient(&server.url())).unwrap();
    let keys = keys("m", 3);
    let calls = async {
        for _ in 0..1000 {
            assert_eq!(tier.get_many(&keys).await.unwrap_err().kind(), ErrorKind::Unavailable);
            assert_eq!(tier.put_many(&entries(&keys)).await.unwrap_err().kind(), ErrorKind::Unavailable);
        }
    };
    // If each call waited for a connection, a thousand of them would take longer than this.
    timeout(PATIENCE, calls).await.expect("calls fail at once");
    server.restart().await;
    tier.ready(PATIENCE).await.unwrap();
    assert_eq!(found(&tier, &keys).await, 0, "failed commands aren't sent later");
}

#[tokio::test]
async fn a_server_that_goes_and_comes_back_empty() {
    let Some(mut server) = server().await else { return };
    let tier = connected(impatient(&server.url())).await;
    let keys = keys("m", 10);
    for _ in 0..3 {
        tier.put_many(&entries(&keys)).await.unwrap();
        assert_eq!(found(&tier, &keys).await, 10);
        server.stop();
        let error = tier.get_many(&keys).await.unwrap_err();
        assert_eq!((error.kind(), error.is_temporary()), (ErrorKind::Unavailable, true), "{error:?}");
        server.restart().await;
        eventually(async || tier.get_many(&keys).await).await;
        assert_eq!(found(&tier, &keys).await, 0);
    }
}

/// Late replies are discarded, and never taken for another key's.
#[tokio::test]
async fn late_replies_are_discarded() {
    let Some(server) = server().await else { return };
    // A long timeout, so that the connection isn't replaced.
    let tier = connected(config(&server.url()).with_connect_timeout(Duration::from_secs(60))).await;
    let keys = keys("m", 200);
    tier.put_many(&entries(&keys)).await.unwrap();
    let before = connection(&server);
    for round in 0..5 {
        server.freeze();
        for key in &keys[..100] {
            let one = std::slice::from_ref(key);
            let late = timeout(Duration::from_millis(1), tier.get_many(one)).await;
            assert!(late.is_err());
        }
        let ahead: Vec<_> = keys[100..].chunks(7).map(|some| found(&tier, some)).collect();
        let ahead = futures::future::join_all(ahead);
        server.thaw();
        assert_eq!(ahead.await.iter().sum::<usize>(), 100, "round {round}");
    }
    assert_eq!(connection(&server), before, "the connection was replaced");
}

/// The server's id of the tier's connection.
fn connection(server: &RedisServer) -> String {
    let clients = server.tell("CLIENT LIST").text();
    let ours = clients.lines().find(|client| client.contains("cmd=mget") || client.contains("cmd=set"));
    ours.and_then(|client| client.split(' ').next()).unwrap().to_owned()
}

#[tokio::test]
async fn a_frozen_server_is_left_and_found_again() {
    let Some(server) = server().await else { return };
    let tier = connected(impatient(&server.url())).await;
    let keys = keys("m", 10);
    tier.put_many(&entries(&keys)).await.unwrap();
    server.freeze();
    let budget = Duration::from_millis(20);
    assert!(timeout(budget, tier.get_many(&keys)).await.is_err());
    // The connection is given up, and then calls fail at once.
    let given_up = async {
        while timeout(budget, tier.get_many(&keys)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(600)).await;
        }
    };
    timeout(PATIENCE, given_up).await.expect("the connection is given up");
    server.thaw();
    eventually(async || tier.get_many(&keys).await).await;
    assert_eq!(found(&tier, &keys).await, 10);
}

#[tokio::test]
async fn a_replica_is_read_and_not_written() {
    let Some(master) = server().await else { return };
    let Some(server) = server().await else { return };
    let tier = tier(&server.url()).await;
    let keys = keys("m", 10);
    tier.put_many(&entries(&keys)).await.unwrap();
    server.tell(&format!("REPLICAOF 127.0.0.1 {}", master.port()));
    let error = tier.put_many(&entries(&keys)).await.unwrap_err();
    assert_eq!((error.kind(), error.is_temporary()), (ErrorKind::Unavailable, true));
    assert!(error.to_string().contains("replica"), "{error}");
    assert_eq!(error.context().last(), Some(("failed", "10 of 10")));
    let values = eventually(async || tier.get_many(&keys).await).await;
    assert_eq!(values.len(), 10);
    server.tell("REPLICAOF NO ONE");
    eventually(async || tier.put_many(&entries(&keys)).await).await;
    assert_eq!(found(&tier, &keys).await, 10);
}

#[tokio::test]
async fn a_full_server_says_so_and_still_answers() {
    let Some(server) = server().await else { return };
    let tier = tier(&server.url()).await;
    let keys = keys("m", 10);
    tier.put_many(&entries(&keys)).await.unwrap();
    server.tell("CONFIG SET maxmemory 100kb");
    let error = tier.put_many(&entries(&keys)).await.unwrap_err();
    assert_eq!((error.kind(), error.is_temporary()), (ErrorKind::Overloaded, true));
    assert_eq!(found(&tier, &keys).await, 10);
    assert_eq!(tier.stats().await.unwrap().limit, Some(100 << 10));
    server.tell("CONFIG SET maxmemory 0");
    tier.put_many(&entries(&keys)).await.unwrap();
    // With an eviction policy it evicts old entries, and counts them.
    server.tell("CONFIG SET maxmemory-policy allkeys-lru");
    server.tell("CONFIG SET maxmemory 3mb");
    for i in 0..20 {
        tier.put_many(&entries(&self::keys(&format!("m{i}"), 500))).await.unwrap();
    }
    assert!(tier.stats().await.unwrap().evicted > 100);
}

#[tokio::test]
async fn a_key_that_holds_something_else_is_a_miss_of_its_own() {
    let Some(server) = server().await else { return };
    let tier = tier(&server.url()).await;
    let keys = keys("m", 5);
    tier.put_many(&entries(&keys)).await.unwrap();
    tier.remove(&keys[2..3]).await.unwrap();
    server.command(&[b"LPUSH".to_vec(), name(&keys[2]), b"x".to_vec()]);
    assert_eq!(found(&tier, &keys).await, 4);
    tier.put_many(&entries(&keys)).await.unwrap();
    assert_eq!(found(&tier, &keys).await, 5);
}

#[tokio::test]
async fn many_callers_share_the_connections() {
    let Some(server) = server().await else { return };
    let tier = Arc::new(connected(config(&server.url()).with_connections(2)).await);
    let tasks = (0..100).map(|task| {
        let tier = Arc::clone(&tier);
        tokio::spawn(async move {
            let keys = keys(&format!("m{}", task % 10), 20);
            for _ in 0..10 {
                tier.put_many(&entries(&keys)).await.unwrap();
                assert_eq!(found(&tier, &keys).await, 20);
            }
        })
    });
    futures::future::try_join_all(tasks).await.unwrap();
    let clients = |server: &RedisServer| server.info("connected_clients").parse::<usize>().unwrap();
    assert_eq!(clients(&server), 3, "two of the tier, one of the test");
    drop(tier);
    let gone = async || match clients(&server) {
        1 => Ok(()),
        _ => Err(Error::new(ErrorKind::Internal, "the connections stay")),
    };
    eventually(gone).await;
}

#[tokio::test]
async fn a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("redis.sock");
    let options = RedisOptions::default().with("unixsocket", socket.display());
    let Some(_server) = RedisServer::require(options).await else { return };
    let tier = tier(&format!("redis+unix://{}", socket.display())).await;
    let keys = keys("m", 5);
    tier.put_many(&entries(&keys)).await.unwrap();
    assert_eq!(found(&tier, &keys).await, 5);
}

#[test]
fn a_tier_needs_a_runtime() {
    let error = RedisTier::connect(config("redis://127.0.0.1")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
}

#[cfg(feature = "redis-rustls")]
#[tokio::test]
async fn tls() {
    let Some(certificate) = embed_testkit::require("openssl", embed_testkit::redis::Certificate::make())
    else {
        return;
    };
    let options = RedisOptions { certificate: Some(certificate.folder()), ..RedisOptions::default() };
    let Some(server) = RedisServer::require(options).await else { return };
    let url = format!("rediss://127.0.0.1:{}", server.port());
    let trusting = config(&url).with_ca_file(certificate.file());
    let known = trusting.clone().with_client_certificate(certificate.file(), certificate.key());
    let tier = connected(known).await;
    let keys = keys("m", 100);
    tier.put_many(&entries(&keys)).await.unwrap();
    assert_eq!(found(&tier, &keys).await, 100);
    let problem = async |config: RedisConfig| {
        let tier = RedisTier::connect(config).unwrap();
        let error = tier.ready(Duration::from_secs(3)).await.unwrap_err();
        (error.kind(), error.to_string())
    };
    let (kind, said) = problem(config(&url)).await;
    assert_eq!(kind, ErrorKind::Config, "{said}");
    assert!(said.contains("isn't trusted"), "{said}");
    let (kind, said) = problem(trusting).await;
    assert_eq!(kind, ErrorKind::Config, "{said}");
    assert!(said.contains("certificate of this client"), "{said}");
    // A client without TLS at a port with TLS.
    let (kind, said) = problem(config(&url.replace("rediss", "redis"))).await;
    assert_eq!(kind, ErrorKind::Unavailable, "{said}");
    let missing = RedisTier::connect(config(&url).with_ca_file("/nowhere.pem")).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::Config);
    assert!(missing.context().any(|fact| fact == ("field", "ca_file")));
}
