//! Plans, decisions, status, metrics, probes.

use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use embed_core::{Coverage, EmbedRequest, EmbedderExt, Error, ErrorKind, Health, Result, Role, async_trait};
use embed_gateway::{
    AdmissionConfig, CacheStatus, Explainer, Explanation, Gateway, Plan, Planner, RouteStatus, StackStatus,
};
use serde_json::json;

use crate::client::{config, get, over, post, router, send, until};
use crate::double::{Double, vector_of};

#[derive(Debug)]
struct Kana;

impl Explainer for Kana {
    fn explain(&self, text: &str, _role: Role, partition: Option<&str>) -> Explanation {
        assert_eq!(partition, None);
        let japanese = text.chars().any(|c| ('\u{3040}'..='\u{30ff}').contains(&c));
        if japanese {
            Explanation::new("ja", 1.0, "kana").with_route("e5", "japanese")
        } else {
            Explanation::new("en", 0.9, "latin").with_route("ollama", "double")
        }
    }
}

#[derive(Debug)]
struct Twice;

#[async_trait]
impl Planner for Twice {
    async fn plan(&self, request: EmbedRequest, coverage: Coverage) -> Result<Vec<Plan>> {
        let mut plans = Vec::new();
        for text in request.texts() {
            let first = Double::new().encode(text, request.role()).await;
            let second = Err(Error::new(ErrorKind::Unavailable, "down at http://10.0.0.9"));
            plans.push(Plan::new(match coverage {
                Coverage::Route => vec![first],
                _ => vec![first, second],
            }));
        }
        Ok(plans)
    }
}

#[tokio::test]
async fn decisions_are_explained() {
    let gateway = Gateway::new(Arc::new(Double::new()), config()).with_explainer(Arc::new(Kana));
    let router = gateway.into_router().unwrap();
    let answer = post(&router, "/route", r#"{"input":["hello","こんにちは"]}"#).await.expect(200).json();
    assert_eq!(
        answer["routes"][1],
        json!({ "language": "ja", "confidence": 1.0, "rule": "kana", "route": "e5", "space": "japanese" })
    );
    assert_eq!(answer["routes"][0]["route"], "ollama");
    post(&crate::client::router(), "/route", r#"{"input":"x"}"#).await.expect(501);
}

#[tokio::test]
async fn plans_have_a_vector_for_each_space() {
    let gateway = Gateway::new(Arc::new(Double::new()), config()).with_planner(Arc::new(Twice));
    let router = gateway.into_router().unwrap();
    let body = r#"{"input":["a","b"],"role":"document","coverage":"route"}"#;
    let answer = post(&router, "/embed/plan", body).await.expect(200).json();
    let vector = &answer["plans"][1]["vectors"][0];
    assert_eq!(vector["space"], "double/mean/query-passage/l2/16");
    assert_eq!(
        serde_json::from_value::<Vec<f32>>(vector["embedding"].clone()).unwrap(),
        vector_of(Role::Document, "b")
    );
    let reply = post(&router, "/embed/plan", r#"{"input":"a","role":"query"}"#).await.expect(200);
    assert_eq!(reply.json()["plans"][0]["vectors"][1]["error"]["code"], "unavailable");
    assert!(!reply.text.contains("10.0.0.9"));
    for bad in [
        r#"{"input":"a"}"#,
        r#"{"input":"a","role":"poem"}"#,
        r#"{"input":"a","role":"query","coverage":""}"#,
    ] {
        let error = post(&router, "/embed/plan", bad).await.expect(400).json();
        assert_eq!(error["error"]["code"], "invalid_request", "{bad}");
    }
}

#[tokio::test]
async fn status_shows_what_was_supplied() {
    let gateway = Gateway::new(Arc::new(Double::new()), config()).with_status(|| {
        let route =
            RouteStatus::new("e5", "double", "s", "degraded").with_reason("a worker is being replaced");
        let cache = CacheStatus::new("memory", "ready").with_counts(3, 1).with_bytes(4096);
        StackStatus::new(vec![route], vec![cache])
    });
    let (router, watch) = gateway.start().unwrap();
    post(&router, "/embed", r#"{"inputs":"x"}"#).await.expect(200);
    let status = get(&router, "/status").await.expect(200).json();
    assert_eq!(status["gateway"]["accepted"], 1);
    assert_eq!(status["models"][0]["name"], "double");
    assert_eq!(status["models"][0]["role"], "document");
    assert_eq!(status["routes"][0]["reason"], "a worker is being replaced");
    assert_eq!(status["caches"][0]["hits"], 3);
    assert_eq!(status["health"], json!({ "status": "ready", "reason": null }));
    assert_eq!((watch.stats().accepted, watch.stats().in_flight), (1, 0));
}

#[tokio::test]
async fn metrics_are_rendered_by_the_supplied_function() {
    let gateway = Gateway::new(Arc::new(Double::new()), config()).with_metrics(|| "up 1\n".to_owned());
    let reply = get(&gateway.into_router().unwrap(), "/metrics").await.expect(200);
    assert_eq!(reply.text, "up 1\n");
    assert_eq!(reply.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    get(&router(), "/metrics").await.expect(501);
}

#[tokio::test(start_paused = true)]
async fn probes_distinguish_liveness_from_readiness() {
    let stack = Arc::new(Double::new());
    let (router, watch) = Gateway::new(Arc::<Double>::clone(&stack), config()).start().unwrap();
    get(&router, "/healthz").await.expect(200);
    assert_eq!(get(&router, "/readyz").await.expect(200).json()["status"], "ready");
    stack.set_health(Health::degraded(Error::new(ErrorKind::Unavailable, "one of two")));
    assert_eq!(
        get(&router, "/readyz").await.expect(200).json()["status"],
        "ready",
        "the result is reused for a second"
    );
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(get(&router, "/readyz").await.expect(200).json()["status"], "degraded");
    stack.set_health(Health::unavailable(Error::new(ErrorKind::Unavailable, "at http://10.0.0.9")));
    tokio::time::advance(Duration::from_secs(2)).await;
    let reply = get(&router, "/readyz").await.expect(503);
    assert_eq!(reply.text, r#"{"status":"unavailable"}"#, "probes have no key, so they get no details");
    get(&router, "/healthz").await.expect(200);
    watch.begin_draining();
    let reply = get(&router, "/readyz").await.expect(503);
    assert_eq!(
        (reply.json()["status"].as_str(), reply.header("connection")),
        (Some("draining"), Some("close"))
    );
}

#[tokio::test]
async fn a_request_id_is_accepted_or_generated() {
    use axum::body::Body;
    use axum::http::Request;
    let router = over(Double::new(), config());
    let ask = |id: Option<&str>| {
        let mut request = Request::get("/healthz");
        if let Some(id) = id {
            request = request.header("x-request-id", id);
        }
        request.body(Body::empty()).unwrap()
    };
    let reply = send(&router, ask(Some("abc-123"))).await;
    assert_eq!(reply.header("x-request-id"), Some("abc-123"));
    let first = send(&router, ask(None)).await.header("x-request-id").unwrap().to_owned();
    let second = send(&router, ask(Some(&"x".repeat(500)))).await;
    assert_ne!(second.header("x-request-id"), Some(first.as_str()));
    assert!(second.header("x-request-id").unwrap().len() < 64);
}

/// Explains a text when released.
#[derive(Debug)]
struct WhenTold(Mutex<mpsc::Receiver<()>>);

impl Explainer for WhenTold {
    fn explain(&self, _: &str, _: Role, _: Option<&str>) -> Explanation {
        let _ = self.0.lock().unwrap().recv();
        Explanation::new("en", 1.0, "told")
    }
}

/// Explaining many texts takes turns like embedding, and blocks no other task: this test has one thread for asynchronous
/// work.
#[tokio::test]
async fn explaining_takes_a_turn_and_blocks_no_task() {
    let (tell, told) = mpsc::channel();
    let admission = AdmissionConfig::default().with_bounds(1, 8).with_pieces(2, 1 << 20, 1);
    let gateway = Gateway::new(Arc::new(Double::new()), config().with_admission(admission))
        .with_explainer(Arc::new(WhenTold(Mutex::new(told))));
    let (router, watch) = gateway.start().unwrap();
    let ask = |body: &'static str| {
        let router = router.clone();
        tokio::spawn(async move { post(&router, "/route", body).await })
    };
    let first = ask(r#"{"input":["a","b","c"]}"#);
    until(|| watch.stats().in_flight == 1).await;
    get(&router, "/healthz").await.expect(200);
    let second = ask(r#"{"input":"d"}"#);
    until(|| watch.stats().waiting == 1).await;
    // After a piece of two texts it is the other request's turn.
    tell.send(()).unwrap();
    tell.send(()).unwrap();
    tell.send(()).unwrap();
    assert_eq!(second.await.unwrap().expect(200).json()["routes"].as_array().unwrap().len(), 1);
    tell.send(()).unwrap();
    assert_eq!(first.await.unwrap().expect(200).json()["routes"].as_array().unwrap().len(), 3);
    assert_eq!((watch.stats().in_flight, watch.stats().accepted), (0, 2));
    drop(tell);
}

#[tokio::test]
async fn explaining_keeps_the_deadline() {
    let (tell, told) = mpsc::channel();
    let gateway =
        Gateway::new(Arc::new(Double::new()), config()).with_explainer(Arc::new(WhenTold(Mutex::new(told))));
    let router = gateway.into_router().unwrap();
    let request = Request::post("/route").header("x-request-timeout", "0.05");
    let request = request.body(Body::from(r#"{"input":"a"}"#)).unwrap();
    send(&router, request).await.expect(504);
    drop(tell);
}

/// Plans after some time, or fails.
#[derive(Debug)]
struct Slow(bool);

#[async_trait]
impl Planner for Slow {
    async fn plan(&self, request: EmbedRequest, _: Coverage) -> Result<Vec<Plan>> {
        tokio::time::sleep(Duration::from_secs(10)).await;
        if self.0 {
            return Err(Error::new(ErrorKind::Internal, "broken"));
        }
        Ok(request.texts().iter().map(|_| Plan::default()).collect())
    }
}

/// Plans count for the throughput, even failed ones, so that requests which would wait too long are refused at once.
#[tokio::test(start_paused = true)]
async fn plans_count_for_the_pace() {
    for fails in [false, true] {
        let admission = AdmissionConfig::default().with_bounds(1, 8);
        let gateway = Gateway::new(Arc::new(Double::new()), config().with_admission(admission))
            .with_planner(Arc::new(Slow(fails)));
        let (router, watch) = gateway.start().unwrap();
        const BODY: &str = r#"{"input":"a","role":"query"}"#;
        post(&router, "/embed/plan", BODY).await.expect(if fails { 500 } else { 200 });
        let holding = tokio::spawn({
            let router = router.clone();
            async move { post(&router, "/embed/plan", BODY).await }
        });
        while watch.stats().in_flight == 0 {
            tokio::task::yield_now().await;
        }
        let request = Request::post("/embed/plan").header("x-request-timeout", "5");
        let reply = send(&router, request.body(Body::from(BODY)).unwrap()).await.expect(503);
        assert_eq!(reply.header("retry-after"), Some("10"));
        holding.await.unwrap();
    }
}

/// Pieces of plans are limited by bytes, like those of embeddings.
#[tokio::test]
async fn plans_are_cut_by_bytes_too() {
    #[derive(Debug, Default)]
    struct Sizes(Mutex<Vec<usize>>);
    #[async_trait]
    impl Planner for Sizes {
        async fn plan(&self, request: EmbedRequest, _: Coverage) -> Result<Vec<Plan>> {
            self.0.lock().unwrap().push(request.texts().len());
            Ok(request.texts().iter().map(|_| Plan::default()).collect())
        }
    }
    let sizes = Arc::new(Sizes::default());
    let admission = AdmissionConfig::default().with_pieces(64, 10, 1);
    let gateway = Gateway::new(Arc::new(Double::new()), config().with_admission(admission))
        .with_planner(Arc::<Sizes>::clone(&sizes));
    let router = gateway.into_router().unwrap();
    let body = r#"{"input":["aaaa","bbbb","cccc","dddddddddddddddd","e"],"role":"document"}"#;
    let reply = post(&router, "/embed/plan", body).await.expect(200).json();
    assert_eq!(reply["plans"].as_array().unwrap().len(), 5);
    assert_eq!(*sizes.0.lock().unwrap(), [2, 1, 1, 1]);
}
