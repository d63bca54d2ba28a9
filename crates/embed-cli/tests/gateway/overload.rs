//! More callers than may even wait: those that are let in are answered, the others are told to come back, and nothing is
//! left of it. How soon, `benches/serve` measures; that who is let in keeps its deadline, the gateway tests in virtual time.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use embed_testkit::data::udhr_in;
use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use serde_json::json;
use tokio::task::JoinSet;

use crate::http::{Connection, get, request, until};
use crate::serving::{Serving, has_e5};

const CALLERS: usize = 256;
/// How often each of them asks.
const TURNS: usize = 20;
/// What each request gives itself.
const DEADLINE: Duration = Duration::from_secs(3);
/// What the process may take on top while it refuses: the connections of some hundred callers, their requests and
/// answers, and what the allocator doesn't give back.
const GROWTH_KIB: u64 = 64 << 10;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_let_in_is_answered_and_the_rest_refused() {
    if !has_e5() {
        return;
    }
    // Without a cache every text takes its time, and ten of eleven callers find neither a permit nor a place in the queue.
    // All callers have one address, and this is about requests: no connection has to give way to another.
    let bounds = [
        ("TMWS_GATEWAY_CONCURRENCY", "8"),
        ("TMWS_GATEWAY_QUEUE", "16"),
        ("TMWS_GATEWAY_CONNECTIONS_PER_ADDRESS", "1024"),
    ];
    let serving = Serving::start(&["--service", "e5", "--cache", "off"], &bounds);
    let url: Arc<str> = serving.url().into();
    for _ in 0..8 {
        assert_eq!(ask(&mut Connection::open(&url).await.unwrap()).await, 200);
    }
    let before = serving.resident_kib();

    let callers = (0..CALLERS).map(|_| {
        let url = Arc::clone(&url);
        async move {
            let mut connection = Connection::open(&url).await.unwrap();
            let mut seen = Vec::new();
            for _ in 0..TURNS {
                let reply = connection.send(asking()).await.unwrap();
                if matches!(reply.status.as_u16(), 429 | 503) {
                    let after = reply.header("retry-after").parse::<u64>();
                    assert!(after.is_ok(), "a refusal says when to come back: {:?}", reply.headers);
                }
                // A server with many connections closes those that are done.
                if reply.header("connection") == "close" {
                    connection = Connection::open(&url).await.unwrap();
                }
                seen.push(reply.status.as_u16());
            }
            seen
        }
    });
    let mut callers: JoinSet<Vec<u16>> = callers.collect();
    let (mut seen, mut peak) = (BTreeMap::<u16, usize>::new(), before);
    while let Some(statuses) = callers.join_next().await {
        peak = peak.max(serving.resident_kib());
        for status in statuses.unwrap() {
            *seen.entry(status).or_default() += 1;
        }
    }
    println!("{seen:?}; resident {before} KiB, then {peak} KiB at most");
    let count = |status| seen.get(&status).copied().unwrap_or(0);
    assert!(seen.keys().all(|status| [200, 429, 503, 504].contains(status)), "{seen:?}");
    assert!(count(200) > 0 && count(503) + count(429) > 0, "it was no overload: {seen:?}");
    assert!(peak <= before + GROWTH_KIB, "{before} KiB before and {peak} KiB at most");

    until("nothing is left of it", async || {
        let gateway = get(&url, "/status").await.json()["gateway"].take();
        (&gateway["in_flight"], &gateway["waiting"]) == (&json!(0), &json!(0))
    })
    .await;
    assert_eq!(ask(&mut Connection::open(&url).await.unwrap()).await, 200);
}

async fn ask(connection: &mut Connection) -> u16 {
    connection.send(asking()).await.unwrap().status.as_u16()
}

/// A text of about forty tokens, which takes milliseconds.
fn asking() -> Request<Full<Bytes>> {
    static BODY: LazyLock<Bytes> = LazyLock::new(|| {
        let text: String = udhr_in("en")[1].chars().take(200).collect();
        json!({ "model": "multilingual-e5-small", "input": text }).to_string().into()
    });
    let mut request = request("POST", "/v1/embeddings", BODY.clone());
    request.headers_mut().insert("x-request-timeout", DEADLINE.as_secs().into());
    request
}
