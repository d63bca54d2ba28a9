//! A log that nobody reads, sockets that say nothing, and work for both cores: probes are answered all the same.

use embed_testkit::ollama::OllamaDouble;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::http::{ask, get, metric, request, until};
use crate::serving::Serving;

/// More lines than wait for a reader.
const CONNECTIONS: usize = 10;
const REQUESTS: usize = 2_000;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_serves_waits_for_a_reader_of_the_log() {
    let ollama = OllamaDouble::start("0.9.3").await;
    let variables = [("TMWS_OLLAMA_API_BASE", &*ollama.url())];
    let mut serving = Serving::start_unread(&["--service", "ollama"], &variables);
    let address = serving.url().trim_start_matches("http://").to_owned();
    let mut asking = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let address = address.clone();
        asking.spawn(async move {
            // Each is a refusal, which has a line.
            let one = "GET /v1/models/nobody HTTP/1.1\r\nhost: localhost\r\n\r\n";
            let last = "GET /v1/models/nobody HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
            let (mut from, mut to) = TcpStream::connect(&address).await.unwrap().into_split();
            let writing = tokio::spawn(async move {
                to.write_all((one.repeat(REQUESTS - 1) + last).as_bytes()).await.unwrap();
                to
            });
            let mut answers = Vec::new();
            from.read_to_end(&mut answers).await.unwrap();
            drop(writing.await.unwrap());
            String::from_utf8(answers).unwrap().matches("HTTP/1.1 404").count()
        });
    }
    assert_eq!(asking.join_all().await, [REQUESTS; CONNECTIONS]);
    assert_eq!(get(serving.url(), "/healthz").await.status, 200);
    assert!(metric(serving.url(), "tmws_log_lines_dropped_total", &[]).await > 0.0);
    // Nor does the end.
    serving.terminate();
    assert_eq!(serving.ended().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_are_answered_beside_half_open_sockets_and_hard_work() {
    let ollama = OllamaDouble::start("0.9.3").await;
    let variables = [("TMWS_OLLAMA_API_BASE", &*ollama.url())];
    let mut serving =
        Serving::start_unread(&["--service", "ollama", "--admin-listen", "127.0.0.1:0"], &variables);
    let operators = serving.operators();
    let address: std::net::SocketAddr = serving.url().trim_start_matches("http://").parse().unwrap();
    let texts: Vec<_> = (0..20_000).map(|number| format!("text {number} of many, in a language")).collect();
    let body = json!({ "input": texts }).to_string();
    let mut explaining = JoinSet::new();
    for _ in 0..3 {
        let (url, body) = (serving.url().to_owned(), body.clone());
        explaining.spawn(async move { ask(&url, request("POST", "/route", body)).await.unwrap().status });
    }
    until("they work", async || get(&operators, "/status").await.json()["gateway"]["accepted"] == 3).await;
    let mut half_open = Vec::new();
    for _ in 0..1024 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // Those beyond the share are told so and closed.
        let _ = stream.write_all(b"POST /route HTTP/1.1\r\nhost: loc").await;
        half_open.push(stream);
    }
    for path in ["/healthz", "/readyz", "/metrics", "/status"] {
        assert_eq!(get(&operators, path).await.status, 200, "{path}");
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        let mut stream = socket.connect(address).await.unwrap();
        let ask = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        stream.write_all(ask.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    }
    let metrics = get(&operators, "/metrics").await.text();
    for name in [
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "process_open_fds",
        "process_max_fds",
        "process_start_time_seconds",
        "tmws_gateway_connections{state=\"open\"}",
        "tmws_gateway_connections{state=\"limit\"} 1024",
        "tmws_gateway_refusals_total{reason=\"queue\"} 0",
        "tmws_gateway_draining 0",
    ] {
        assert!(metrics.contains(name), "{name} is missing: {metrics}");
    }
    // What is for callers isn't there.
    assert_eq!(get(&operators, "/v1/models").await.status, 404);
    assert!(explaining.join_all().await.into_iter().all(|status| status == 200));
    drop(half_open);
}
