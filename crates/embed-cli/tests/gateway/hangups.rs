//! Thousands of requests, a third of which end because the client hangs up, at any point: they leave nothing behind.

use std::hash::BuildHasher as _;
use std::hash::{BuildHasherDefault, DefaultHasher, Hash};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::http::{Connection, get, metric, request, until};
use crate::serving::{Serving, has_e5};

/// The most rounds; the second is the last one if it takes no memory.
const ROUNDS: usize = 5;

/// In each round.
const REQUESTS: usize = 5_000;
const CALLERS: usize = 48;

/// What a round may take on top of the one before. The allocator gives pages back late; what a request leaves behind
/// five thousand times would be more: 2 KiB each are 10 MiB.
const GROWTH_KIB: u64 = 8 << 10;

/// Gauges that are zero when nobody asks for anything.
const GAUGES: [(&str, &[&str]); 4] = [
    ("tmws_embedding_in_flight", &[]),
    ("tmws_backend_in_flight", &[]),
    ("tmws_gateway_in_flight", &["dialect=\"openai\""]),
    ("tmws_gateway_queue_depth", &[]),
];

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_hang_up_leave_nothing_behind() {
    if !has_e5() {
        return;
    }
    // Few permits, so that a queue forms; a small cache, so that it is full after the first round.
    let bounds = [("TMWS_GATEWAY_CONCURRENCY", "8"), ("TMWS_CACHE_MEMORY_BYTES", "1048576")];
    let serving = Serving::start(&["--service", "e5"], &bounds);
    // What a request leaves behind it leaves in every round; what the model's memory pool takes, for sizes that come up
    // by chance, it takes once.
    let mut resident = Vec::new();
    for number in 0..ROUNDS {
        round(&serving, number).await;
        let now = serving.resident_kib();
        if resident.last().is_some_and(|before| now <= before + GROWTH_KIB) {
            return;
        }
        resident.push(now);
    }
    panic!("every round took memory: {resident:?} KiB");
}

/// All requests once, and then a look at what they left.
async fn round(serving: &Serving, round: usize) {
    let next = Arc::new(AtomicUsize::new(0));
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        callers.spawn(call(serving.url().to_owned(), round, Arc::clone(&next)));
    }
    let served: usize = callers.join_all().await.into_iter().sum();
    assert!(served > REQUESTS / 2, "{served} of {REQUESTS} were answered");

    let url = serving.url();
    until("all permits are back", async || {
        let gateway = get(url, "/status").await.json()["gateway"].take();
        // The one connection is the one that asks.
        (&gateway["in_flight"], &gateway["waiting"], &gateway["connections"])
            == (&json!(0), &json!(0), &json!(1))
    })
    .await;
    for (name, labels) in GAUGES {
        until(&format!("{name} is 0"), async || metric(url, name, labels).await == 0.0).await;
    }
    let cancelled = metric(url, "tmws_gateway_requests_total", &["status=\"cancelled\""]).await;
    assert!(cancelled > 0.0, "nobody hung up while a request was under way");
    let mut connection = Connection::open(url).await.unwrap();
    for caller in 0..16 {
        let body = body(&format!("served after round {round} to caller {caller}"), 1);
        assert_eq!(connection.send(request("POST", "/v1/embeddings", body)).await.unwrap().status, 200);
    }
}

/// Sends requests until all are sent; how many were answered.
async fn call(url: String, round: usize, next: Arc<AtomicUsize>) -> usize {
    let mut connection = Connection::open(&url).await.unwrap();
    let mut served = 0;
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= REQUESTS {
            return served;
        }
        let end = match number % 9 {
            0 => Some(End::InBody),
            3 => Some(End::AfterBody),
            6 => Some(End::InReply),
            _ => None,
        };
        // Some ask for what isn't in the cache, and so take their time.
        let text = if number.is_multiple_of(20) || end == Some(End::AfterBody) {
            format!("text {number} of round {round}")
        } else {
            "known".to_owned()
        };
        if let Some(end) = end {
            hang_up(&url, number, &text, end).await;
            continue;
        }
        let reply = connection.send(request("POST", "/v1/embeddings", body(&text, 1))).await.unwrap();
        assert_eq!(reply.status, 200, "{}", reply.text());
        served += 1;
    }
}

/// When a client hangs up.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// Before its request is whole.
    InBody,
    /// While it waits.
    AfterBody,
    /// While the answer comes.
    InReply,
}

/// Sends a request over a new connection and closes it, always at another byte or moment.
async fn hang_up(url: &str, number: usize, text: &str, end: End) {
    // As good as random, and the same in every run.
    let random = |of: &str, below: usize| (hash((number, of)) % below as u64) as usize;
    // Some answers are larger than the buffers of sockets, so that the gateway is in the middle of it, too.
    let rows = if end == End::InReply && number.is_multiple_of(4) { 128 } else { 1 };
    let body = body(text, rows);
    let head =
        format!("POST /v1/embeddings HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n", body.len());
    let bytes = head + &body;
    let sent = if end == End::InBody { 1 + random("end", bytes.len() - 1) } else { bytes.len() };
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4 << 10).unwrap();
    let mut stream = socket.connect(url.trim_start_matches("http://").parse().unwrap()).await.unwrap();
    stream.write_all(&bytes.as_bytes()[..sent]).await.unwrap();
    if end == End::AfterBody {
        // Not at once: a gateway that finds the end behind the request has nothing under way.
        let moment = Duration::from_micros(random("moment", 5_000) as u64);
        if let Ok(answered) = timeout(moment, stream.readable()).await {
            answered.unwrap();
        }
    }
    if end == End::InReply {
        let mut some = vec![0; 1 + random("read", 1000)];
        stream.read_exact(&mut some).await.unwrap();
        assert!(
            some.starts_with(&b"HTTP/1.1 200"[..some.len().min(12)]),
            "{}",
            String::from_utf8_lossy(&some)
        );
    }
}

fn hash(what: impl Hash) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(what)
}

fn body(text: &str, rows: usize) -> String {
    json!({ "model": "multilingual-e5-small", "input": vec![text; rows], "encoding_format": "base64" })
        .to_string()
}
