//! The dashboard and the alerts over a running gateway: a real Prometheus scrapes it, and every query gives data.

use std::collections::BTreeSet;

use embed_testkit::ollama::OllamaDouble;
use embed_testkit::prometheus::Prometheus;
use embed_testkit::redis::{RedisOptions, RedisServer};
use futures::future::join_all;
use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::select;

use crate::http::{Connection, ask, get, metric, request, until};
use crate::serving::{NO_ENGLISH_MODEL, Serving, embed, has_e5};

/// More at once than the gateway below embeds and lets wait.
const FLOOD: usize = 8;

#[tokio::test(flavor = "multi_thread")]
async fn every_query_of_the_docs_gives_data() {
    let (Some(mut redis), true) = (RedisServer::require(RedisOptions::default()).await, has_e5()) else {
        return;
    };
    let ollama = OllamaDouble::start("0.9.3").await;
    let folder = TempDir::new().unwrap();
    let rollout = folder.path().join("rollout.json");
    let begun = embed()
        .args(["rollout", "start", "--from", "ollama", "--to", "e5", "--percentage", "50", "--file"])
        .arg(&rollout)
        .status();
    assert!(begun.unwrap().success());
    let variables = [
        ("TMWS_ROUTER_ROLLOUT", rollout.to_str().unwrap()),
        ("TMWS_ROUTER_SHADOW_PERCENT", "100"),
        ("TMWS_OLLAMA_API_BASE", &*ollama.url()),
        NO_ENGLISH_MODEL,
        ("TMWS_REDIS_URL", &redis.url()),
        ("TMWS_GATEWAY_CONCURRENCY", "1"),
        ("TMWS_GATEWAY_QUEUE", "2"),
    ];
    let serving = Serving::start(&["--service", "hybrid"], &variables);
    let url = serving.url();
    let Some(prometheus) = Prometheus::require(url.trim_start_matches("http://")) else { return };

    // Both tiers have been used before one of them goes, so that lookups and stores fail from now on.
    traffic(url, 0).await;
    until("Redis is used", async || metric(url, "tmws_cache_stored_total", &["tier=\"redis\""]).await > 0.0)
        .await;
    redis.stop();
    select! {
        // The sides of this rollout are two spaces, whose vectors have no cosine.
        () = prometheus.gives_data_to_queries(|query| !query.contains("tmws_shadow_cosine")) => {}
        () = endless_traffic(url) => {}
    }

    // All of it happened.
    for (name, label) in [
        ("tmws_gateway_requests_total", "status=\"cancelled\""),
        ("tmws_gateway_requests_total", "status=\"503\""),
        ("tmws_gateway_requests_total", "status=\"404\""),
        ("tmws_embedding_errors_total", "kind=\"input_too_long\""),
        ("tmws_embedding_cache_hits_total", "service=\"e5\""),
        ("tmws_embedding_cache_hits_total", "service=\"ollama\""),
        ("tmws_embedding_truncations_total", "service=\"ollama\""),
        ("tmws_e5_prefixed_texts_total", ""),
        ("tmws_cache_unstored_total", "tier=\"redis\""),
    ] {
        assert!(metric(url, name, &[label]).await > 0.0, "{name} {label}");
    }
    // Nothing of all that is left behind, nor of the requests that the end of the traffic cut off.
    for gauge in ["tmws_embedding_in_flight", "tmws_backend_in_flight", "tmws_gateway_queue_depth"] {
        until("nothing is in flight", async || metric(url, gauge, &[]).await == 0.0).await;
    }
}

/// Every name with its type, and every label with its values, of the whole stack after some traffic. Only Linux has all
/// the figures of a process.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn names_types_and_labels_are_as_ever() {
    if !has_e5() {
        return;
    }
    let ollama = OllamaDouble::start("0.9.3").await;
    let variables = [("TMWS_OLLAMA_API_BASE", &*ollama.url()), ("TMWS_CACHE", "memory"), NO_ENGLISH_MODEL];
    let serving = Serving::start(&["--service", "hybrid"], &variables);
    traffic(serving.url(), 0).await;
    let text = get(serving.url(), "/metrics").await.text();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/metrics.txt");
    embed_testkit::golden(file, "-p embed-cli --test gateway as_ever", &series(&text));
}

/// A page of metrics without its numbers and without what this build is: types, then series, in order.
#[cfg(target_os = "linux")]
fn series(text: &str) -> String {
    let lines = text.lines().filter_map(|line| match line.strip_prefix('#') {
        Some(_) => line.starts_with("# TYPE").then_some(line),
        None => line.rsplit_once(' ').map(|(series, _)| series),
    });
    let mut lines: Vec<&str> = lines.filter(|line| !line.starts_with("tmws_build_info{")).collect();
    lines.sort_unstable();
    lines.join("\n") + "\n"
}

/// Where one model takes every text, no language decides, and no series says which one did.
#[tokio::test(flavor = "multi_thread")]
async fn one_model_has_no_rules_of_languages() {
    let ollama = OllamaDouble::start("0.9.3").await;
    let serving = Serving::start(&["--service", "ollama"], &[("TMWS_OLLAMA_API_BASE", &*ollama.url())]);
    let asked = request("POST", "/v1/embeddings", json!({ "input": "a river" }).to_string());
    assert_eq!(ask(serving.url(), asked).await.unwrap().status, 200);
    let decisions = "tmws_router_decisions_total";
    assert_eq!(metric(serving.url(), decisions, &["route=\"ollama\"", "rule=\"forced\""]).await, 1.0);
    let page = get(serving.url(), "/metrics").await.text();
    let rules = page.lines().filter(|line| line.starts_with(decisions));
    let rules: BTreeSet<_> =
        rules.map(|line| line.split("rule=\"").nth(1).unwrap().split('"').next().unwrap()).collect();
    assert_eq!(rules, BTreeSet::from(["forced", "other", "pinned"]));
}

async fn endless_traffic(url: &str) {
    for turn in 1.. {
        traffic(url, turn).await;
    }
}

/// One of everything that a panel shows. What is answered is the subject of other tests.
async fn traffic(url: &str, turn: usize) {
    let fresh = format!("nobody asked for text {turn} before");
    let openai = |model: &str, input: Value| {
        request("POST", "/v1/embeddings", json!({ "model": model, "input": input }).to_string())
    };
    let requests = [
        // Known and new ones, in both languages, and by every dialect.
        openai("auto", json!(["the same text each time", fresh, "毎回同じ文章", format!("文章{turn}")])),
        of_partition(openai("auto", json!(fresh)), turn),
        request("POST", "/api/embed", json!({ "model": "all-minilm", "input": fresh }).to_string()),
        request("POST", "/embed", json!({ "inputs": fresh }).to_string()),
        request("GET", "/api/tags", ""),
        // What is written with the model's own prefix, what is cut, and what is too long.
        openai("e5", json!(format!("query: {fresh}"))),
        request(
            "POST",
            "/api/embed",
            json!({ "model": "all-minilm", "input": long(turn), "truncate": true }).to_string(),
        ),
        openai("all-minilm", json!(long(turn))),
        // What is refused at once.
        openai("nobody", json!(fresh)),
        request("POST", "/v1/embeddings", "{"),
    ];
    for request in requests {
        ask(url, request).await.unwrap();
    }
    // More at once than may wait, and one whose caller goes away.
    let flood = (0..FLOOD).map(|number| ask(url, openai("e5", json!(format!("{fresh} by {number}")))));
    for reply in join_all(flood).await {
        reply.unwrap();
    }
    let slow: Vec<_> = (0..FLOOD).map(|number| format!("{fresh}, not even caller {number}")).collect();
    hang_up(url, openai("e5", json!(slow))).await;
}

/// The same request by another tenant each turn: some are in the rollout, and some aren't.
fn of_partition(mut request: Request<Full<Bytes>>, turn: usize) -> Request<Full<Bytes>> {
    let name = format!("tenant-{turn}").parse().unwrap();
    request.headers_mut().insert("x-embed-partition", name);
    request
}

/// More words than the model reads.
fn long(turn: usize) -> String {
    format!("{turn} ") + &"word ".repeat(600)
}

/// Sends a request and leaves before the answer.
async fn hang_up(url: &str, request: Request<Full<Bytes>>) {
    let mut connection = Connection::open(url).await.unwrap();
    let begun = async || metric(url, "tmws_gateway_in_flight", &["dialect=\"openai\""]).await > 0.0;
    select! {
        // It may have been quick.
        reply = connection.send(request) => drop(reply.unwrap()),
        () = until("the request is at work", begun) => {}
    }
}
