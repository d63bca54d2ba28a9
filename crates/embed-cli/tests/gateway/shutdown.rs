//! SIGTERM under load: every request that was accepted is answered.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::json;
use tokio::task::JoinSet;

use crate::http::{Connection, get, request, until};
use crate::serving::{Serving, has_e5};

const CONNECTIONS: usize = 16;

/// What one caller got.
#[derive(Debug, Default)]
struct Got {
    /// The ids of requests that were answered, whole and with 200.
    answered: BTreeSet<String>,
    /// Those that went out and were not answered.
    unanswered: BTreeSet<String>,
}

#[tokio::test(flavor = "multi_thread")]
async fn no_accepted_request_is_lost() {
    if !has_e5() {
        return;
    }
    let delay = [("TMWS_GATEWAY_READINESS_DELAY", "0.5")];
    let mut serving = Serving::start(&["--service", "e5"], &delay);
    let url: Arc<str> = serving.url().into();
    let (answers, closing) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let mut callers = JoinSet::new();
    for number in 0..CONNECTIONS {
        callers.spawn(call(Arc::clone(&url), number, Arc::clone(&answers), Arc::clone(&closing)));
    }
    until("the load is on", async || answers.load(Ordering::Relaxed) >= 10 * CONNECTIONS).await;
    assert_eq!(get(&url, "/readyz").await.status, 200);

    serving.terminate();
    // It says so before it closes its door, so that nobody is sent there any more.
    until("it isn't ready", async || get(&url, "/readyz").await.status == 503).await;
    let before = answers.load(Ordering::Relaxed);
    closing.store(true, Ordering::Relaxed);

    let mut got = Got::default();
    for mut caller in callers.join_all().await {
        got.answered.append(&mut caller.answered);
        got.unanswered.append(&mut caller.unanswered);
    }
    assert_eq!(serving.ended().code(), Some(0));
    assert!(got.answered.len() > before, "nothing was at work when the end began");

    // What was accepted is what it says of itself: each such request has a line in the log.
    let (mut embedded, mut other) = (BTreeSet::new(), Vec::new());
    for event in serving.log() {
        match (event["request_id"].as_str(), event["message"].as_str()) {
            (Some(id), Some("embedded")) => _ = embedded.insert(id.to_owned()),
            (Some(_), _) => other.push(event),
            _ => {}
        }
    }
    assert!(other.is_empty(), "requests that weren't embedded: {other:?}");
    let lost: Vec<_> = embedded.difference(&got.answered).collect();
    assert!(lost.is_empty(), "accepted and not answered: {lost:?}");
    let made_up: Vec<_> = got.answered.difference(&embedded).collect();
    assert!(made_up.is_empty(), "answered and not in the log: {made_up:?}");
    // Until the door closes every request is accepted, also over new connections. Then each caller may meet the closed
    // door once, and none of those requests was begun.
    assert!(got.unanswered.len() <= CONNECTIONS, "{:?}", got.unanswered);
    assert!(got.unanswered.is_disjoint(&embedded));
}

/// Calls one request after the other until the gateway is gone. No text comes twice, so that each takes its time.
async fn call(url: Arc<str>, number: usize, answers: Arc<AtomicUsize>, closing: Arc<AtomicBool>) -> Got {
    let mut got = Got::default();
    let mut connection = None;
    for turn in 0.. {
        let mut open = match connection.take() {
            Some(open) => open,
            None => match Connection::open(&url).await {
                Ok(open) => open,
                Err(error) => {
                    assert!(
                        closing.load(Ordering::Relaxed),
                        "refused before it said that it isn't ready: {error}"
                    );
                    break;
                }
            },
        };
        let id = format!("caller-{number}-{turn}");
        let texts = [0, 1]
            .map(|at| format!("text {at} of turn {turn} of caller {number}, which nobody asked for before"));
        let body = json!({ "model": "multilingual-e5-small", "input": texts }).to_string();
        let mut request = request("POST", "/v1/embeddings", body);
        request.headers_mut().insert("x-request-id", id.parse().unwrap());
        let Ok(reply) = open.send(request).await else {
            assert!(closing.load(Ordering::Relaxed), "{id} got no answer before the end had begun");
            got.unanswered.insert(id);
            continue;
        };
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert_eq!(reply.json()["data"].as_array().unwrap().len(), texts.len());
        got.answered.insert(id);
        answers.fetch_add(1, Ordering::Relaxed);
        // As a client does that is told so: the next request goes over a new connection.
        if reply.header("connection") != "close" {
            connection = Some(open);
        }
    }
    got
}
