//! Scenes about the gateways themselves: nobody reads their log, callers leave connections half open, they are killed,
//! paused, told to read their settings again, and exchanged one by one.

use std::fs;

use embed_testkit::ollama::OllamaDouble;
use embed_testkit::redis::{RedisOptions, RedisServer};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::drill::Drill;
use crate::http::{ask, metric, request, until};
use crate::load::Load;
use crate::serving::Serving;
use crate::texts::Texts;

const VERSION: &str = "0.9.3";
const HALF_OPEN: usize = 1_024;

#[tokio::test(flavor = "multi_thread")]
async fn nobody_reads_the_log() {
    let mut drill = Drill::begin("nobody reads standard error").await;
    let ollama = OllamaDouble::start(VERSION).await;
    let serving = Serving::start_unread(&["--service", "ollama"], &[("TMWS_OLLAMA_API_BASE", &ollama.url())]);
    let load = Load::start(&[serving.url()], Texts::of_double(), None);
    let dropped = async || metric(serving.url(), "tmws_log_lines_dropped_total", &[]).await;
    while drill.goes_on() {
        load.answers(50).await;
        let before = dropped().await;
        // The pipe is full for good after the first time.
        until("lines are dropped", async || {
            let mut asking = JoinSet::new();
            (0..10).for_each(|_| drop(asking.spawn(refusals(serving.url().to_owned(), 2_000))));
            assert_eq!(asking.join_all().await, [2_000; 10]);
            dropped().await > before
        })
        .await;
        // The cause doesn't end: it is well while nobody reads.
        drill.well(&load, "it serves", async || true).await;
        drill.weigh(&[&serving]);
    }
    drill.take(load, &[]);
    drill.write();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_disk_of_the_log_is_full() {
    let mut drill = Drill::begin("the disk of the log is full").await;
    let ollama = OllamaDouble::start(VERSION).await;
    // Every write fails with ENOSPC.
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let variables = [("TMWS_OLLAMA_API_BASE", &*ollama.url())];
    let mut serving = Serving::start_logging_to(&["--service", "ollama"], &variables, full.into());
    let load = Load::start(&[serving.url()], Texts::of_double(), None);
    while drill.goes_on() {
        load.answers(100).await;
        assert_eq!(refusals(serving.url().to_owned(), 200).await, 200);
        // The cause doesn't end: it is well while nothing can be written.
        drill.well(&load, "it serves", async || true).await;
        drill.weigh(&[&serving]);
    }
    drill.take(load, &[]);
    drill.write();
    serving.terminate();
    assert_eq!(serving.ended().code(), Some(0));
}

/// Asks so often for what there isn't, each of which has a line in the log; gives back how often that was answered.
async fn refusals(url: String, count: usize) -> usize {
    let ask = |more: &str| format!("GET /v1/models/nobody HTTP/1.1\r\nhost: localhost\r\n{more}\r\n");
    let asked = ask("").repeat(count - 1) + &ask("connection: close\r\n");
    let (mut from, mut to) =
        TcpStream::connect(url.trim_start_matches("http://")).await.unwrap().into_split();
    let mut answers = String::new();
    let (sent, read) = tokio::join!(to.write_all(asked.as_bytes()), from.read_to_string(&mut answers));
    sent.and(read.map(drop)).unwrap();
    answers.matches("HTTP/1.1 404").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_are_half_open() {
    let mut drill = Drill::begin("1,024 sockets are half open").await;
    let Some(texts) = Texts::of_e5().await else { return };
    let serving = Serving::start(&["--service", "e5"], &[] as &[(&str, &str)]);
    let load = Load::start(&[serving.url()], texts, None);
    let open = async || metric(serving.url(), "tmws_gateway_connections", &["state=\"open\""]).await;
    while drill.goes_on() {
        load.answers(50).await;
        let mut sockets = Vec::new();
        for _ in 0..HALF_OPEN {
            sockets.push(half_open(serving.url()).await);
        }
        // It never stops being ready.
        load.answers(50).await;
        assert!(load.balancer.all_ready());
        assert!(open().await > 100.0, "the sockets are there");
        drop(sockets);
        drill.well(&load, "the connections are closed", async || open().await < 64.0).await;
        drill.weigh(&[&serving]);
    }
    drill.take(load, &[]);
    drill.write();
}

/// A connection of another address, whose request never ends.
async fn half_open(url: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.3:0".parse().unwrap()).unwrap();
    let mut stream = socket.connect(url.trim_start_matches("http://").parse().unwrap()).await.unwrap();
    // Those beyond the share are told so and closed.
    let _ = stream.write_all(b"POST /v1/embeddings HTTP/1.1\r\nhost: loc").await;
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_is_killed_amid_writes() {
    let Some(redis) = RedisServer::require(RedisOptions::default()).await else { return };
    let mut drill = Drill::begin("a gateway is killed amid writes").await;
    let ollama = OllamaDouble::start(VERSION).await;
    let (base, url) = (ollama.url(), redis.url());
    let variables = [("TMWS_OLLAMA_API_BASE", &*base), ("TMWS_REDIS_URL", &*url), ("TMWS_CACHE", "redis")];
    let mut serving = Serving::start(&["--service", "ollama"], &variables);
    let load = Load::start(&[serving.url()], Texts::of_double(), None);
    while drill.goes_on() {
        load.answers(50).await;
        until("rows are stored", async || !redis.keys().is_empty()).await;
        serving.signal("KILL");
        serving.ended();
        serving = Serving::start(&["--service", "ollama"], &variables);
        load.balancer.instance(0).moves_to(serving.url());
        let hits = async || metric(serving.url(), "tmws_cache_hits_total", &[]).await > 0.0;
        drill.well(&load, "rows that the dead one stored are served", hits).await;
        drill.weigh(&[&serving]);
    }
    // A connection with a request in it breaks when its process dies.
    drill.take(load, &["broken"]);
    drill.write();
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_are_read_again_under_load() {
    let mut drill = Drill::begin("SIGHUP under load").await;
    let ollama = OllamaDouble::start(VERSION).await;
    let folder = TempDir::new().unwrap();
    let (keys, config) = (folder.path().join("keys"), folder.path().join("embed.toml"));
    fs::write(&config, format!("[gateway]\napi_key_file = {keys:?}\n")).unwrap();
    fs::write(&keys, "stays\n").unwrap();
    let args = ["--service", "ollama", "--config", config.to_str().unwrap()];
    let serving = Serving::start(&args, &[("TMWS_OLLAMA_API_BASE", &ollama.url())]);
    let load = Load::start(&[serving.url()], Texts::of_double(), Some("stays"));
    let mut number = 0;
    while drill.goes_on() {
        load.answers(50).await;
        for _ in 0..10 {
            number += 1;
            let key = format!("key-{number}");
            fs::write(&keys, format!("stays\n{key}\n")).unwrap();
            serving.signal("HUP");
            let holds = async || {
                let mut request = request("GET", "/v1/models", "");
                request.headers_mut().insert("x-api-key", key.parse().unwrap());
                ask(serving.url(), request).await.unwrap().status == 200
            };
            drill.well(&load, "the new key holds", holds).await;
        }
        drill.weigh(&[&serving]);
    }
    drill.take(load, &[]);
    drill.write();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_gateways_share_a_redis() {
    let Some(mut redis) = RedisServer::require(RedisOptions::default()).await else { return };
    let mut drill = Drill::begin("two gateways, one Redis: one is paused, then Redis dies").await;
    let Some(texts) = Texts::of_e5().await else { return };
    let url = redis.url();
    let start =
        || Serving::start(&["--service", "e5"], &[("TMWS_REDIS_URL", &*url), ("TMWS_CACHE", "redis")]);
    let (one, two) = (start(), start());
    let load = Load::start(&[one.url(), two.url()], texts, None);
    while drill.goes_on() {
        load.answers(50).await;
        one.signal("STOP");
        until("the balancer leaves it alone", async || !load.balancer.instance(0).is_ready()).await;
        load.answers(50).await;
        one.signal("CONT");
        drill.well(&load, "both serve", async || true).await;
        redis.stop();
        load.answers(50).await;
        redis.restart().await;
        drill.well(&load, "rows are stored again", async || !redis.keys().is_empty()).await;
        drill.weigh(&[&one, &two]);
    }
    // What the paused one was asked before it was paused. Redis is no reason to refuse.
    drill.take(load, &["silent"]);
    drill.write();
}

#[tokio::test(flavor = "multi_thread")]
async fn gateways_are_exchanged_one_by_one() {
    let mut drill = Drill::begin("a rolling restart of two gateways").await;
    let Some(texts) = Texts::of_e5().await else { return };
    // Longer than the balancer takes to notice, as docs/deploy.md says.
    let start = || Serving::start(&["--service", "e5"], &[("TMWS_GATEWAY_READINESS_DELAY", "1")]);
    let mut gateways = [start(), start()];
    let load = Load::start(&[gateways[0].url(), gateways[1].url()], texts, None);
    while drill.goes_on() {
        for (at, gateway) in gateways.iter_mut().enumerate() {
            until("both are ready", async || load.balancer.all_ready()).await;
            load.answers(20).await;
            gateway.terminate();
            assert_eq!(gateway.ended().code(), Some(0));
            *gateway = start();
            load.balancer.instance(at).moves_to(gateway.url());
            drill.well(&load, "the new one is ready", async || true).await;
        }
        drill.weigh(&[&gateways[0], &gateways[1]]);
    }
    // Nobody notices.
    drill.take(load, &[]);
    drill.write();
}
