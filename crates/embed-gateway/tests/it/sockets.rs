//! Tests that need a socket: slow and broken clients, garbage, hang-ups.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use embed_gateway::{AdmissionConfig, ApiKey, Gateway, Limits};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;

use crate::client::{Server, config, raw_post, read_reply, talk, until};
use crate::double::Double;

const EMBED: &str = r#"{"model":"double","input":"x"}"#;

/// Short real time, since real sockets don't follow a paused clock; the tests only check that the timeouts end.
fn hasty() -> Limits {
    let short = Duration::from_millis(200);
    Limits::default().with_timeouts(short, short, short)
}

#[tokio::test]
async fn a_connection_is_used_again_and_pipelined_requests_are_answered_in_order() {
    let server = Server::start(Arc::new(Double::new()), config()).await;
    let mut stream = server.connect().await;
    let both = raw_post("/api/embed", EMBED) + &raw_post("/v1/embeddings", EMBED);
    stream.write_all(both.as_bytes()).await.unwrap();
    let (head, body) = read_reply(&mut stream).await;
    assert!(head.starts_with("http/1.1 200") && body.contains("embeddings"), "{head}");
    let (head, body) = read_reply(&mut stream).await;
    assert!(head.starts_with("http/1.1 200") && body.contains("\"object\":\"list\""), "{head}");
}

#[tokio::test]
async fn garbage_after_a_request_is_400_and_the_end() {
    let server = Server::start(Arc::new(Double::new()), config()).await;
    let mut stream = server.connect().await;
    let bytes = raw_post("/api/embed", EMBED) + "\u{1}\u{2} this is no HTTP\r\n\r\n";
    let answer = talk(&mut stream, bytes.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("HTTP/1.1 400"), "{answer}");
    assert!(!answer.contains("no HTTP"), "{answer}");
}

#[tokio::test]
async fn a_flood_of_headers_is_431() {
    let server = Server::start(Arc::new(Double::new()), config()).await;
    let many = (0..200).map(|number| format!("x-{number}: 1\r\n")).collect::<String>();
    let large = format!("x-large: {}\r\n", "a".repeat(100_000));
    for flood in [many, large] {
        let request = format!("GET / HTTP/1.1\r\nhost: localhost\r\n{flood}\r\n");
        let answer = talk(&mut server.connect().await, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer:.80}");
    }
}

#[tokio::test]
async fn a_head_that_never_ends_is_cut_off() {
    let server = Server::start(Arc::new(Double::new()), config().with_limits(hasty())).await;
    let mut stream = server.connect().await;
    stream.write_all(b"POST /api/embed HTTP/1.1\r\nhost: loc").await.unwrap();
    let mut rest = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut rest));
    read.await.expect("the connection is closed").ok();
}

/// Proxies keep connections for a minute, so an idle one must last longer than a head may take.
#[tokio::test]
async fn an_idle_connection_has_its_own_timeout() {
    let limits = hasty().with_idle_timeout(Duration::from_secs(3600));
    let server = Server::start(Arc::new(Double::new()), config().with_limits(limits)).await;
    let mut stream = server.connect().await;
    let ask = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
    stream.write_all(ask).await.unwrap();
    read_reply(&mut stream).await;
    // An equally old connection without a request shows that the timeout of a head has passed.
    let mut silent = server.connect().await;
    assert_eq!(silent.read(&mut [0]).await.unwrap(), 0);
    stream.write_all(ask).await.unwrap();
    assert!(read_reply(&mut stream).await.0.starts_with("http/1.1 200"));
    // The head of a later request has the timeout of a head again.
    stream.write_all(b"GET /heal").await.unwrap();
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test]
async fn an_idle_connection_is_closed_in_the_end() {
    let limits = Limits::default().with_idle_timeout(Duration::from_millis(200));
    let server = Server::start(Arc::new(Double::new()), config().with_limits(limits)).await;
    let mut stream = server.connect().await;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    read_reply(&mut stream).await;
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
}

/// Despite a thousand half-open sockets of one address, the address itself, another one, and operators are answered.
#[tokio::test]
async fn half_open_sockets_keep_no_client_out() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let admin = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, for_operators) = (listener.local_addr().unwrap(), admin.local_addr().unwrap());
    let gateway = Gateway::new(Arc::new(Double::new()), config()).with_metrics(|| "up 1\n".to_owned());
    let server = gateway.bind(listener).unwrap().with_admin(admin).unwrap();
    let watch = server.watch();
    tokio::spawn(server.run(std::future::pending()));
    let mut half_open = Vec::new();
    for _ in 0..1024 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // Those beyond the share get an answer and are closed.
        let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: loc").await;
        half_open.push(stream);
    }
    until(|| watch.stats().connections == 256).await;
    for path in ["/healthz", "/readyz", "/metrics", "/status"] {
        let ask = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        for (from, to) in [("127.0.0.1", for_operators), ("127.0.0.2", address), ("127.0.0.1", address)] {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
            let mut stream = socket.connect(to).await.unwrap();
            let answer = talk(&mut stream, ask.as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{path} from {from}: {answer}");
        }
    }
    drop(half_open);
}

/// Connections in use aren't closed for others: an address with too many is refused.
#[tokio::test]
async fn an_address_that_uses_its_share_is_refused() {
    let gate = Arc::new(Semaphore::new(0));
    let stack = Arc::new(Double::gated(&gate));
    let limits = Limits::default().with_connections(8).with_connections_per_address(2);
    let server = Server::start(Arc::<Double>::clone(&stack), config().with_limits(limits)).await;
    let mut busy = Vec::new();
    for _ in 0..2 {
        let mut stream = server.connect().await;
        stream.write_all(raw_post("/api/embed", EMBED).as_bytes()).await.unwrap();
        busy.push(stream);
    }
    until(|| stack.running.load(Ordering::SeqCst) == 2).await;
    let mut third = server.connect().await;
    let (head, body) = read_reply(&mut third).await;
    assert!(head.starts_with("http/1.1 503") && head.contains("retry-after: 1"), "{head}");
    assert!(body.contains("too many connections of this address"), "{body}");
    gate.add_permits(2);
    for stream in &mut busy {
        assert!(read_reply(stream).await.0.starts_with("http/1.1 200"));
    }
}

/// A body that a client announces (`Expect: 100-continue`) is refused by its length or by a missing key before it is read.
#[tokio::test]
async fn an_announced_body_is_refused_before_it_is_read() {
    let limits = Limits::default().with_bytes(1 << 20, 8 << 20);
    let config = config().with_limits(limits).with_api_keys([ApiKey::new("ci", "secret")]);
    let server = Server::start(Arc::new(Double::new()), config).await;
    let key = "authorization: Bearer secret\r\n";
    for (path, more, length, status) in [
        ("/v1/embeddings", key, 40 << 20, "413"),
        ("/api/embed", key, (1 << 20) + 1, "413"),
        ("/embed", key, 40 << 20, "413"),
        ("/v1/embeddings", "", 100, "401"),
        ("/nothing", key, 100, "404"),
    ] {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\n{more}content-length: {length}\r\n\
             expect: 100-continue\r\n\r\n"
        );
        let answer = talk(&mut server.connect().await, head.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{path}: {answer}");
        assert!(!answer.contains("100 Continue"), "{answer}");
    }
    let strange = format!("POST /embed HTTP/1.1\r\nhost: localhost\r\n{key}expect: coffee\r\n\r\n");
    let (head, _) = {
        let mut stream = server.connect().await;
        stream.write_all(strange.as_bytes()).await.unwrap();
        read_reply(&mut stream).await
    };
    assert!(head.starts_with("http/1.1 417"), "{head}");
    // One that is small enough gets a `100 Continue`.
    let mut stream = server.connect().await;
    let head = format!(
        "POST /v1/embeddings HTTP/1.1\r\nhost: localhost\r\n{key}content-length: {}\r\nexpect: 100-continue\r\n\r\n",
        EMBED.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    assert!(read_reply(&mut stream).await.0.starts_with("http/1.1 100"));
    stream.write_all(EMBED.as_bytes()).await.unwrap();
    assert!(read_reply(&mut stream).await.0.starts_with("http/1.1 200"));
}

#[tokio::test]
async fn a_body_that_trickles_is_408() {
    let server = Server::start(Arc::new(Double::new()), config().with_limits(hasty())).await;
    let mut stream = server.connect().await;
    let head = "POST /v1/embeddings HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = tokio::time::timeout(Duration::from_secs(20), read_reply(&mut stream)).await.unwrap();
    assert!(answer.0.starts_with("http/1.1 408"), "{}", answer.0);
    assert!(answer.1.contains("invalid_request_error"), "{}", answer.1);
}

#[tokio::test]
async fn a_body_that_is_too_large_is_answered_while_it_is_still_being_written() {
    let limits = Limits::default().with_bytes(1 << 20, 8 << 20);
    let server = Server::start(Arc::new(Double::new()), config().with_limits(limits)).await;
    let mut stream = server.connect().await;
    let body = format!(r#"{{"model":"double","input":"{}"}}"#, "x".repeat(10 << 20));
    stream.write_all(raw_post("/v1/embeddings", &body).as_bytes()).await.expect("the gateway reads on");
    let (head, body) = read_reply(&mut stream).await;
    assert!(head.starts_with("http/1.1 413"), "{head}");
    assert!(body.contains("larger than 1048576 bytes"), "{body}");
}

#[tokio::test]
async fn a_client_that_hangs_up_cancels_its_work() {
    let gate = Arc::new(Semaphore::new(0));
    let stack = Arc::new(Double::gated(&gate));
    let server = Server::start(Arc::<Double>::clone(&stack), config()).await;
    let mut stream = server.connect().await;
    stream.write_all(raw_post("/api/embed", EMBED).as_bytes()).await.unwrap();
    until(|| stack.running.load(Ordering::SeqCst) == 1).await;
    drop(stream);
    until(|| stack.running.load(Ordering::SeqCst) == 0).await;
}

#[tokio::test]
async fn hang_ups_give_back_connections_permits_and_memory_for_bodies() {
    let gate = Arc::new(Semaphore::new(0));
    let stack = Arc::new(Double::gated(&gate));
    // The limits are so low that leaks of two hundred requests would be noticed.
    let limits = Limits::default().with_bytes(64 << 10, 64 << 10).with_connections(1);
    let admission = AdmissionConfig::default().with_bounds(1, 1);
    let config = config().with_limits(limits).with_admission(admission);
    let server = Server::start(Arc::<Double>::clone(&stack), config).await;
    let request = raw_post("/api/embed", EMBED);
    for number in 0..200 {
        let mut stream = server.connect().await;
        // Hang up while the stack works, or before the body ends.
        let is_whole = number % 2 == 0;
        let end = request.len() - usize::from(!is_whole);
        stream.write_all(&request.as_bytes()[..end]).await.unwrap();
        if is_whole {
            until(|| stack.running.load(Ordering::SeqCst) == 1).await;
        }
    }
    gate.add_permits(1);
    let mut stream = server.connect().await;
    stream.write_all(request.as_bytes()).await.unwrap();
    assert!(read_reply(&mut stream).await.0.starts_with("http/1.1 200"));
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_their_turn() {
    let limits = Limits::default().with_connections(2);
    let server = Server::start(Arc::new(Double::new()), config().with_limits(limits)).await;
    let ask = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut stream = server.connect().await;
        stream.write_all(ask).await.unwrap();
        read_reply(&mut stream).await;
        open.push(stream);
    }
    let mut third = server.connect().await;
    third.write_all(ask).await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(100), third.read_u8()).await;
    assert!(early.is_err(), "it waits");
    open.pop();
    assert!(read_reply(&mut third).await.0.starts_with("http/1.1 200"));
}

/// Otherwise idle connections would keep new callers out without even an answer.
#[tokio::test]
async fn when_there_are_many_connections_they_end_with_their_answer() {
    let limits = Limits::default().with_connections(8);
    let server = Server::start(Arc::new(Double::new()), config().with_limits(limits)).await;
    let mut open = Vec::new();
    for count in 1..=20 {
        let mut stream = server.connect().await;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        let head = read_reply(&mut stream).await.0;
        assert_eq!(head.contains("connection: close"), count > 7, "{count}: {head}");
        open.push(stream);
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_its_answer_is_disconnected() {
    let long = Duration::from_secs(30);
    let limits = Limits::default().with_timeouts(long, long, Duration::from_millis(200));
    let server = Server::start(Arc::new(Double::new()), config().with_limits(limits)).await;
    let mut stream = server.connect().await;
    // An answer larger than any socket's buffer.
    let body = serde_json::json!({ "model": "double", "input": vec!["x"; 20_000] }).to_string();
    stream.write_all(raw_post("/v1/embeddings", &body).as_bytes()).await.unwrap();
    let mut other = server.connect().await;
    loop {
        let request = b"GET /status HTTP/1.1\r\nhost: localhost\r\n\r\n";
        other.write_all(request).await.unwrap();
        let (_, status) = read_reply(&mut other).await;
        let status: serde_json::Value = serde_json::from_str(&status).unwrap();
        if status["gateway"]["accepted"] == 1 && status["gateway"]["connections"] == 1 {
            return;
        }
    }
}
