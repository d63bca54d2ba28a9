//! Admission: which requests are admitted, wait or are refused, and that a hang-up leaves nothing behind.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use embed_gateway::{AdmissionConfig, ApiKey, Gateway, GatewayWatch, ObservedRequest, Observer};
use embed_testkit::VirtualTime;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::client::{Reply, config, post, send, until};
use crate::double::Double;

struct Setup {
    gate: Arc<Semaphore>,
    stack: Arc<Double>,
    router: Router,
    watch: GatewayWatch,
}

fn setup(concurrency: usize, queue: usize) -> Setup {
    let gate = Arc::new(Semaphore::new(0));
    let stack = Arc::new(Double::gated(&gate));
    let admission = AdmissionConfig::default().with_bounds(concurrency, queue).with_pieces(4, 1 << 20, 2);
    let keys = [ApiKey::new("a", "key-a"), ApiKey::new("b", "key-b")];
    let config = config().with_admission(admission).with_api_keys(keys);
    let (router, watch) = Gateway::new(Arc::<Double>::clone(&stack), config).start().unwrap();
    Setup { gate, stack, router, watch }
}

impl Setup {
    fn ask(&self, key: &str, path: &str, body: &str) -> JoinHandle<Reply> {
        let request = Request::post(path).header("x-api-key", key).body(Body::from(body.to_owned())).unwrap();
        let router = self.router.clone();
        tokio::spawn(async move { send(&router, request).await })
    }

    async fn waiting(&self, count: usize) {
        until(|| self.watch.stats().waiting == count).await;
    }

    async fn running(&self, count: usize) {
        until(|| self.stack.running.load(Ordering::SeqCst) == count).await;
    }
}

const EMBED: &str = r#"{"model":"double","input":"x"}"#;

#[tokio::test]
async fn a_full_queue_is_reported_in_each_dialect() {
    let setup = setup(1, 2);
    let first = setup.ask("key-a", "/v1/embeddings", EMBED);
    setup.running(1).await;
    let waiting: Vec<_> = (0..2).map(|_| setup.ask("key-a", "/v1/embeddings", EMBED)).collect();
    setup.waiting(2).await;
    for (path, body, status, text) in [
        ("/v1/embeddings", EMBED, 503, "too many requests wait already"),
        ("/api/embed", EMBED, 503, "server busy, please try again.  maximum pending requests exceeded"),
        ("/embed", r#"{"inputs":"x"}"#, 429, "Overloaded"),
    ] {
        let reply = setup.ask("key-a", path, body).await.unwrap().expect(status);
        assert!(reply.text.contains(text), "{}", reply.text);
        assert!(reply.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    }
    assert_eq!(setup.watch.stats().refused, 3);
    setup.gate.add_permits(3);
    for answer in waiting.into_iter().chain([first]) {
        answer.await.unwrap().expect(200);
    }
    let stats = setup.watch.stats();
    assert_eq!((stats.in_flight, stats.waiting, stats.accepted), (0, 0, 3));
    assert_eq!(setup.stack.peak.load(Ordering::SeqCst), 1, "never more in flight than configured");
}

#[tokio::test]
async fn callers_take_turns_and_a_flood_gives_way() {
    let setup = setup(1, 4);
    let first = setup.ask("key-a", "/embed", r#"{"inputs":"first"}"#);
    setup.running(1).await;
    let mut flood: Vec<_> = Vec::new();
    for number in 1..=4 {
        flood.push(setup.ask("key-a", "/embed", r#"{"inputs":"x"}"#));
        setup.waiting(number).await;
    }
    let other = setup.ask("key-b", "/embed", r#"{"inputs":"x"}"#);
    let displaced = flood.pop().unwrap().await.unwrap();
    displaced.expect(429);
    // With the next permit it is the turn of the caller that came after three others.
    setup.gate.add_permits(3);
    first.await.unwrap().expect(200);
    other.await.unwrap().expect(200);
    assert!(flood.iter().filter(|waiter| !waiter.is_finished()).count() >= 2);
    setup.gate.add_permits(2);
    for waiter in flood {
        waiter.await.unwrap().expect(200);
    }
}

#[tokio::test]
async fn a_large_request_takes_its_turns_among_others() {
    let setup = setup(1, 8);
    // Ten pieces, of which two may be in flight.
    let texts = vec!["x"; 40];
    let large = setup.ask("key-a", "/embed", &serde_json::json!({ "inputs": texts }).to_string());
    setup.running(1).await;
    setup.waiting(1).await;
    let small = setup.ask("key-b", "/embed", r#"{"inputs":"x"}"#);
    setup.waiting(2).await;
    // The first piece, the second one, which waited longer, and then the other caller.
    setup.gate.add_permits(3);
    small.await.unwrap().expect(200);
    assert!(!large.is_finished());
    setup.gate.add_permits(8);
    large.await.unwrap().expect(200);
}

#[tokio::test]
async fn a_cancelled_caller_leaves_nothing_behind() {
    let setup = setup(2, 8);
    let running: Vec<_> = (0..2).map(|_| setup.ask("key-a", "/embed", r#"{"inputs":"x"}"#)).collect();
    setup.running(2).await;
    let waiting: Vec<_> = (0..5).map(|_| setup.ask("key-b", "/embed", r#"{"inputs":"x"}"#)).collect();
    setup.waiting(5).await;
    for task in running.iter().chain(&waiting) {
        task.abort();
    }
    until(|| setup.watch.stats().in_flight + setup.watch.stats().waiting == 0).await;
    setup.running(0).await;
    setup.gate.add_permits(1);
    setup.ask("key-a", "/embed", r#"{"inputs":"x"}"#).await.unwrap().expect(200);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_waiting_and_work() {
    let setup = setup(1, 8);
    let ask = |seconds: &str| {
        let request =
            Request::post("/v1/embeddings").header("x-api-key", "key-a").header("x-request-timeout", seconds);
        let request = request.body(Body::from(EMBED)).unwrap();
        let router = setup.router.clone();
        tokio::spawn(async move { send(&router, request).await })
    };
    let time = VirtualTime::start().await;
    let working = ask("2.5");
    setup.running(1).await;
    let waiting = ask("1");
    let reply = waiting.await.unwrap().expect(504);
    assert_eq!(reply.json()["error"]["code"], "timeout");
    assert!(time.passed() < Duration::from_millis(1100));
    working.await.unwrap().expect(504);
    assert!(time.passed() < Duration::from_millis(2600));
    assert_eq!(setup.watch.stats().in_flight, 0);
}

/// Records its notifications.
#[derive(Debug, Default, Clone)]
struct Heard(Arc<Mutex<Vec<String>>>);

struct Ends(Heard, &'static str);

impl Heard {
    fn say(&self, what: impl Into<String>) {
        self.0.lock().unwrap().push(what.into());
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.say(self.1);
    }
}

impl ObservedRequest for Ends {
    fn answered(self: Box<Self>, status: u16) {
        self.0.say(status.to_string());
    }
}

impl Observer for Heard {
    fn request(&self, dialect: &'static str) -> Box<dyn ObservedRequest> {
        self.say(dialect);
        Box::new(Ends(self.clone(), "request ends"))
    }

    fn wait(&self) -> Box<dyn std::any::Any + Send> {
        self.say("wait");
        Box::new(Ends(self.clone(), "wait ends"))
    }
}

#[tokio::test]
async fn an_observer_is_notified_of_requests_and_waits() {
    let heard = Heard::default();
    let gate = Arc::new(Semaphore::new(0));
    let admission = AdmissionConfig::default().with_bounds(1, 1);
    let gateway = Gateway::new(Arc::new(Double::gated(&gate)), config().with_admission(admission));
    let (router, watch) = gateway.with_observer(Arc::new(heard.clone())).start().unwrap();
    let ask = || {
        tokio::spawn({
            let router = router.clone();
            async move { post(&router, "/api/embed", EMBED).await }
        })
    };
    let first = ask();
    until(|| watch.stats().in_flight == 1).await;
    let second = ask();
    until(|| watch.stats().waiting == 1).await;
    second.abort();
    until(|| watch.stats().waiting == 0).await;
    gate.add_permits(1);
    first.await.unwrap().expect(200);
    let expected = ["ollama", "ollama", "wait", "wait ends", "request ends", "200", "request ends"];
    assert_eq!(*heard.0.lock().unwrap(), expected);
}

#[tokio::test]
async fn the_router_works_without_a_peer() {
    let router = crate::client::router();
    post(&router, "/embed", r#"{"inputs":"x"}"#).await.expect(200);
}
