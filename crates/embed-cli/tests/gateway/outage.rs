//! What the gateway stands on is killed under load: its readiness and its metrics tell the truth, and it recovers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use embed_testkit::ollama::{Fault, OllamaDouble, rig};
use embed_testkit::redis::{RedisOptions, RedisServer};
use serde_json::json;
use tokio::task::JoinSet;

use crate::http::{Connection, Error, Reply, ask, get, metric, request, until};
use crate::serving::Serving;

const CALLERS: usize = 4;
const MODEL: &str = "all-minilm";
const KNOWN: &str = "a text that is in the memory of the gateway";

#[tokio::test(flavor = "multi_thread")]
async fn readiness_and_metrics_tell_the_truth_about_outages() {
    let Some(mut redis) = RedisServer::require(RedisOptions::default()).await else { return };
    // The older one embeds many times faster on machines without a GPU.
    let Some(ollama) = rig::require_exclusive("0.5.4") else { return };
    let variables = [("TMWS_OLLAMA_API_BASE", ollama.url()), ("TMWS_REDIS_URL", &redis.url())];
    let serving = Serving::start(&["--service", "ollama"], &variables);
    let url = serving.url();
    assert_eq!(embed(url, KNOWN).await.status, 200);
    let load = Load::start(url);
    load.answers(20).await;
    assert_eq!((get(url, "/readyz").await.status.as_u16(), open(url, "redis").await), (200, false));

    // Without Redis everything goes on: vectors are computed.
    redis.stop();
    until("the metrics show that Redis is gone", async || open(url, "redis").await).await;
    assert_eq!(get(url, "/readyz").await.status, 200);
    load.answers(20).await;
    redis.restart().await;
    until("the metrics show that Redis is back", async || !open(url, "redis").await).await;
    until("vectors are stored again", async || !redis.keys().is_empty()).await;
    assert_eq!(load.failures(), 0, "Redis is no reason to fail");

    // Without Ollama nothing new is embedded, and that is said; what is known still is.
    let failed = metric(url, "tmws_embedding_errors_total", &[]).await;
    ollama.signal_server("KILL").unwrap();
    // It may have died with its server.
    let _ = ollama.signal_runner("KILL");
    until("it isn't ready without Ollama", async || get(url, "/readyz").await.status == 503).await;
    until("the metrics show that Ollama is gone", async || open(url, "ollama").await).await;
    let refused = embed(url, &load.new_text()).await;
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(refused.headers.contains_key("retry-after"), "{:?}", refused.headers);
    assert_eq!(embed(url, KNOWN).await.status, 200, "what the cache has is served");
    assert!(!refused.text().contains("127.0.0.1"), "the address of the back end is told: {}", refused.text());
    assert!(metric(url, "tmws_embedding_errors_total", &[]).await > failed);
    let refusals = ["dialect=\"openai\"", "status=\"503\""];
    assert!(metric(url, "tmws_gateway_requests_total", &refusals).await > 0.0);

    ollama.up().unwrap();
    until("it is ready again", async || get(url, "/readyz").await.status == 200).await;
    until("a new text is embedded", async || embed(url, &load.new_text()).await.status == 200).await;
    until("the metrics show that Ollama is back", async || !open(url, "ollama").await).await;
    load.answers(20).await;
    load.end().await;
    // The load is over, and no place at the stack is still taken.
    for gauge in ["tmws_embedding_in_flight", "tmws_backend_in_flight"] {
        until("nothing is in flight", async || metric(url, gauge, &[]).await == 0.0).await;
    }
    let openai = ["dialect=\"openai\""];
    until("no request goes on", async || metric(url, "tmws_gateway_in_flight", &openai).await == 0.0).await;
}

/// As behind a balancer that obeys the readiness: from the moment that it isn't ready, nobody calls any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_back_end_that_is_well_again_is_ready_without_a_request() {
    let ollama = OllamaDouble::start("0.9.3").await;
    let base = ollama.url();
    let serving = Serving::start(&["--service", "ollama"], &[("TMWS_OLLAMA_API_BASE", &base)]);
    let url = serving.url();
    assert_eq!(embed(url, KNOWN).await.status, 200);
    // A proxy before a server that is alive all the time.
    ollama.fail(std::iter::repeat_n(Fault::Error(502, "bad gateway".into()), 100_000));
    let mut texts = 0;
    until("it isn't ready, and its breaker is open", async || {
        texts += 1;
        assert_ne!(embed(url, &format!("text {texts}")).await.status, 200);
        get(url, "/readyz").await.status == 503 && open(url, "ollama").await
    })
    .await;
    ollama.heal();
    until("it is ready again, and nobody called", async || get(url, "/readyz").await.status == 200).await;
    assert!(!open(url, "ollama").await);
    assert_eq!(embed(url, "a new text").await.status, 200);
}

async fn embed(url: &str, text: &str) -> Reply {
    ask(url, embedding(text)).await.unwrap()
}

fn embedding(text: &str) -> hyper::Request<http_body_util::Full<hyper::body::Bytes>> {
    request("POST", "/v1/embeddings", json!({ "model": MODEL, "input": text }).to_string())
}

/// Whether the metrics say that a part isn't used, because its last calls failed.
async fn open(url: &str, part: &str) -> bool {
    let part = format!("part=\"{part}\"");
    metric(url, "tmws_breakers", &[&part, "state=\"open\""]).await == 1.0
}

/// Callers that embed one new text after the other, whatever they are answered.
struct Load {
    shared: Arc<Shared>,
    callers: JoinSet<Result<(), Error>>,
}

#[derive(Default)]
struct Shared {
    answers: AtomicU64,
    failures: AtomicU64,
    texts: AtomicU64,
    over: AtomicBool,
}

impl Load {
    fn start(url: &str) -> Self {
        let shared = Arc::<Shared>::default();
        let mut callers = JoinSet::new();
        for _ in 0..CALLERS {
            let (url, shared) = (url.to_owned(), Arc::clone(&shared));
            callers.spawn(async move {
                let mut connection = Connection::open(&url).await?;
                while !shared.over.load(Ordering::Relaxed) {
                    let reply = connection.send(embedding(&shared.new_text())).await?;
                    let counter = if reply.status == 200 { &shared.answers } else { &shared.failures };
                    counter.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            });
        }
        Self { shared, callers }
    }

    fn new_text(&self) -> String {
        self.shared.new_text()
    }

    fn failures(&self) -> u64 {
        self.shared.failures.load(Ordering::Relaxed)
    }

    /// Waits until so many more texts are embedded.
    async fn answers(&self, count: u64) {
        let answers = || self.shared.answers.load(Ordering::Relaxed);
        let wanted = answers() + count;
        until("texts are embedded", async || answers() >= wanted).await;
    }

    /// Every caller has ended well: no connection broke.
    async fn end(self) {
        self.shared.over.store(true, Ordering::Relaxed);
        for caller in self.callers.join_all().await {
            caller.unwrap();
        }
    }
}

impl Shared {
    fn new_text(&self) -> String {
        format!("text {} of the load", self.texts.fetch_add(1, Ordering::Relaxed))
    }
}
