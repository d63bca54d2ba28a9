//! A minute at ten times the capacity of the stack, in virtual time: admitted requests meet their deadlines, others are
//! refused at once, and two seconds later nothing is left.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use embed_core::{EmbedRequest, EmbedResponse, Embedder, Health, ModelInfo, Result, async_trait};
use embed_gateway::{AdmissionConfig, Gateway};
use embed_testkit::VirtualTime;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::client::{Reply, config, send};
use crate::double::Double;

const WORKERS: u32 = 2;
/// The duration of a call in a worker.
const CALL: Duration = Duration::from_millis(100);
const TIMES: u32 = 10;
const DEADLINE: Duration = Duration::from_secs(2);
const MINUTE: Duration = Duration::from_secs(60);

/// A stack of two workers with a queue, like an engine in the process.
#[derive(Debug)]
struct Slow {
    double: Double,
    workers: Semaphore,
}

#[async_trait]
impl Embedder for Slow {
    fn model(&self) -> &ModelInfo {
        self.double.model()
    }

    async fn embed(&self, request: EmbedRequest) -> Result<EmbedResponse> {
        let _worker = self.workers.acquire().await.unwrap();
        sleep(CALL).await;
        self.double.embed(request).await
    }

    async fn health(&self) -> Health {
        self.double.health().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_minute_at_ten_times_the_capacity() {
    let stack = Slow { double: Double::new(), workers: Semaphore::new(WORKERS as usize) };
    let config = config().with_admission(AdmissionConfig::default().with_bounds(8, 512));
    let (router, watch) = Gateway::new(Arc::new(stack), config).start().unwrap();
    let mut asked = JoinSet::new();
    let (mut most_waiting, time) = (0, VirtualTime::start().await);
    while time.passed() < MINUTE {
        asked.spawn(ask(router.clone(), time));
        sleep(CALL / WORKERS / TIMES).await;
        most_waiting = most_waiting.max(watch.stats().waiting);
    }
    let answers = asked.join_all().await;
    let (served, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|(reply, _)| reply.status == 200);
    for (reply, time) in refused {
        // No 504 either, which would be a request that was admitted and not answered in time.
        assert!([429, 503].contains(&reply.status.as_u16()), "{} after {time:?}", reply.status);
        assert!(reply.header("retry-after").is_some() && *time < Duration::from_millis(50), "{time:?}");
    }
    let longest = served.iter().map(|(_, time)| *time).max().unwrap();
    assert!(longest <= DEADLINE, "{longest:?}");
    let capacity = MINUTE.as_millis() / CALL.as_millis() * u128::from(WORKERS);
    assert!(served.len() as u128 >= capacity * 95 / 100, "{} of {capacity}", served.len());
    // As many as can be served within the deadline, not all that the queue has room for.
    assert!(most_waiting as u128 <= DEADLINE.as_millis() / CALL.as_millis() * u128::from(WORKERS));

    sleep(Duration::from_secs(2)).await;
    assert_eq!((watch.stats().in_flight, watch.stats().waiting), (0, 0));
    let (reply, took) = ask(router, time).await;
    assert_eq!((reply.status.as_u16(), took), (200, CALL));
}

/// An answer and its virtual duration.
async fn ask(router: Router, time: VirtualTime) -> (Reply, Duration) {
    let request = Request::post("/v1/embeddings").header("x-request-timeout", DEADLINE.as_secs());
    let request = request.body(Body::from(r#"{"model":"double","input":"x"}"#)).unwrap();
    let began = time.passed();
    let reply = send(&router, request).await;
    (reply, time.passed() - began)
}
