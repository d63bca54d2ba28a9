//! Passwords for Redis never appear: not in errors, not in `Debug`, not in the client's log.

use std::sync::Mutex;
use std::time::Duration;

use embed_cache::{RedisTier, Tier};
use embed_testkit::redis::{RedisOptions, RedisSentinels, RedisServer};
use log::{LevelFilter, Log, Metadata, Record};

use crate::redis::{config, connected, entries, found, keys};

const SECRET: &str = "hush-7f3a";

/// Keeps log lines that contain the secret, and counts the others.
struct Listener {
    heard: Mutex<(u64, Vec<String>)>,
}

static LISTENER: Listener = Listener { heard: Mutex::new((0, Vec::new())) };

impl Log for Listener {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let line = record.args().to_string();
        let mut heard = self.heard.lock().unwrap();
        heard.0 += 1;
        if line.contains(SECRET) {
            heard.1.push(line);
        }
    }

    fn flush(&self) {}
}

#[tokio::test]
async fn a_password_shows_nowhere() {
    log::set_logger(&LISTENER).unwrap();
    log::set_max_level(LevelFilter::Trace);
    let rules = format!("on >{SECRET} ~embed:* +@all");
    let options = RedisOptions {
        password: Some(SECRET.to_owned()),
        user: Some(("cache".to_owned(), rules)),
        ..RedisOptions::default()
    };
    let Some(mut server) = RedisServer::require(options).await else { return };
    let port = server.port();
    let keys = keys("m", 5);
    for user in ["", "cache"] {
        let settings = config(&format!("redis://{user}:{SECRET}@127.0.0.1:{port}/1"));
        let tier = connected(settings.clone()).await;
        tier.put_many(&entries(&keys)).await.unwrap();
        assert_eq!(found(&tier, &keys).await, 5);
        assert!(!format!("{settings:?} {tier:?} {}", settings.url).contains(SECRET));
    }
    let mut said = String::new();
    let mut fails = async |url: String| {
        let tier = RedisTier::connect(config(&url)).unwrap();
        let error = tier.ready(Duration::from_secs(1)).await.unwrap_err();
        let error_of_call = tier.get_many(&keys).await.unwrap_err();
        said += &format!("{error} {error:?} {error_of_call} {error_of_call:?} {tier:?}");
    };
    fails(format!("redis://:{SECRET}x@127.0.0.1:{port}")).await;
    fails(format!("redis://nobody:{SECRET}@127.0.0.1:{port}")).await;
    fails(format!("redis://:{SECRET}@127.0.0.1:{port}/77")).await;
    fails(format!("redis-cluster://:{SECRET}@127.0.0.1:{port}")).await;
    fails(format!(
        "redis-sentinel://:{SECRET}@127.0.0.1:{port}?sentinelServiceName=m&sentinelPassword={SECRET}"
    ))
    .await;
    fails(format!("redis://:{SECRET}@nowhere.invalid:1")).await;
    server.stop();
    fails(format!("redis://:{SECRET}@127.0.0.1:{port}")).await;
    if let Some(sentinels) = RedisSentinels::require().await {
        fails(format!("{}&sentinelUsername=u&sentinelPassword={SECRET}", sentinels.url())).await;
    }
    log::set_max_level(LevelFilter::Off);
    assert!(!said.contains(SECRET), "{said}");
    let heard = LISTENER.heard.lock().unwrap();
    assert!(heard.0 > 100, "the client logs: {}", heard.0);
    assert!(heard.1.is_empty(), "{:?}", heard.1);
}
