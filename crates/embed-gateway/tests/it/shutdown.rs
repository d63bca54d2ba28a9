//! Shutdown: readiness ends first, then the listener closes, and every accepted request is answered.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use embed_gateway::{AdmissionConfig, Gateway};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};

use crate::client::{Server, config, raw_post, read_reply, until};
use crate::double::Double;

const EMBED: &str = r#"{"model":"double","input":"x"}"#;
const READY: &[u8] = b"GET /readyz HTTP/1.1\r\nhost: localhost\r\n\r\n";

#[tokio::test]
async fn accepted_requests_end_and_readiness_goes_first() {
    let gate = Arc::new(Semaphore::new(0));
    let stack = Arc::new(Double::gated(&gate));
    let config = config().with_drain(Duration::from_millis(500), Duration::from_secs(30));
    let mut server = Server::start(Arc::<Double>::clone(&stack), config).await;
    let mut working = server.connect().await;
    working.write_all(raw_post("/api/embed", EMBED).as_bytes()).await.unwrap();
    until(|| stack.running.load(Ordering::SeqCst) == 1).await;
    let mut probe = server.connect().await;
    probe.write_all(READY).await.unwrap();
    assert!(read_reply(&mut probe).await.0.starts_with("http/1.1 200"));

    server.stop();
    // The listener is still open, so that load balancers notice: a new connection gets the answer that it isn't ready.
    loop {
        let mut probe = server.connect().await;
        probe.write_all(READY).await.unwrap();
        let (head, body) = read_reply(&mut probe).await;
        if head.starts_with("http/1.1 503") {
            assert!(body.contains("draining") && head.contains("connection: close"), "{head}{body}");
            break;
        }
    }
    let mut late = server.connect().await;
    late.write_all(raw_post("/api/embed", EMBED).as_bytes()).await.unwrap();
    until(|| stack.running.load(Ordering::SeqCst) == 2).await;

    let address = server.address;
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    gate.add_permits(2);
    for stream in [&mut working, &mut late] {
        let (head, body) = read_reply(stream).await;
        assert!(head.starts_with("http/1.1 200") && body.contains("embeddings"), "{head}{body}");
    }
    assert_eq!(server.ended().await.cut, 0);
}

#[tokio::test]
async fn requests_that_take_too_long_get_an_answer_and_are_cut_off() {
    let gate = Arc::new(Semaphore::new(0));
    let stack = Arc::new(Double::gated(&gate));
    let config = config().with_drain(Duration::ZERO, Duration::from_millis(200));
    let mut server = Server::start(Arc::<Double>::clone(&stack), config).await;
    let mut working = server.connect().await;
    working.write_all(raw_post("/api/embed", EMBED).as_bytes()).await.unwrap();
    until(|| stack.running.load(Ordering::SeqCst) == 1).await;
    server.stop();
    assert_eq!(server.ended().await.cut, 1);
    until(|| stack.running.load(Ordering::SeqCst) == 0).await;
    let (head, body) = read_reply(&mut working).await;
    assert!(head.starts_with("http/1.1 503") && head.contains("connection: close"), "{head}");
    assert!(body.contains("shutting down"), "{body}");
}

/// As with a second Ctrl-C: the limit would be half an hour.
#[tokio::test]
async fn a_drain_that_is_cut_short_answers_waiting_requests() {
    let gate = Arc::new(Semaphore::new(0));
    let stack = Arc::new(Double::gated(&gate));
    let admission = AdmissionConfig::default().with_bounds(1, 8);
    let config = config().with_drain(Duration::ZERO, Duration::from_secs(1800)).with_admission(admission);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (kill, killed) = oneshot::channel::<()>();
    let server = Gateway::new(Arc::<Double>::clone(&stack), config).bind(listener).unwrap();
    let watch = server.watch();
    let (stop, stopped) = oneshot::channel::<()>();
    let server = server.with_kill(async { _ = killed.await });
    let task = tokio::spawn(server.run(async { _ = stopped.await }));
    let mut waiting = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(raw_post("/api/embed", EMBED).as_bytes()).await.unwrap();
        waiting.push(stream);
    }
    until(|| watch.stats().in_flight == 1 && watch.stats().waiting == 1).await;
    stop.send(()).unwrap();
    until(|| watch.stats().draining).await;
    kill.send(()).unwrap();
    for stream in &mut waiting {
        assert!(read_reply(stream).await.0.starts_with("http/1.1 503"));
    }
    assert_eq!(task.await.unwrap().unwrap().cut, 2);
}

#[tokio::test]
async fn idle_connections_do_not_delay_the_end() {
    let mut server = Server::start(Arc::new(Double::new()), config()).await;
    let mut idle = server.connect().await;
    idle.write_all(READY).await.unwrap();
    read_reply(&mut idle).await;
    let _silent = server.connect().await;
    server.stop();
    let ended = tokio::time::timeout(Duration::from_secs(10), server.ended()).await.expect("it ends at once");
    assert_eq!(ended.cut, 0);
}
