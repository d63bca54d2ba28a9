//! The overhead of the gateway over axum: texts that the stack answers at once, like a cache, over 64 connections, compared
//! with an axum handler that returns the same bytes.

#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::header;
use axum::routing::post;
use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use embed_core::{
    EmbedRequest, EmbedResponse, Embedder, Health, ModelInfo, Result, RowInfo, Space, TokenCount, Variant,
    async_trait,
};
use embed_gateway::{Gateway, GatewayConfig, ModelEntry};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};

const CONNECTIONS: usize = 64;
const DIMENSION: usize = 384;

/// Answers every text with one vector, as fast as a hit in memory.
#[derive(Debug)]
struct Hit {
    info: ModelInfo,
    vector: Vec<f32>,
}

impl Hit {
    fn new() -> Self {
        let variant = Variant::new(Space::builder("hit", DIMENSION).build(), [("version", "1")]);
        let vector = (0..DIMENSION).map(|at| ((at as f32) * 0.7).sin() * 0.05).collect();
        Self { info: ModelInfo::builder("bench", "hit", variant).build(), vector }
    }
}

#[async_trait]
impl Embedder for Hit {
    fn model(&self) -> &ModelInfo {
        &self.info
    }

    async fn embed(&self, request: EmbedRequest) -> Result<EmbedResponse> {
        let mut response = EmbedResponse::builder(request.texts().len(), DIMENSION);
        for index in 0..request.texts().len() {
            let tokens = TokenCount { used: 7, total: 7 };
            response.put(index, &self.vector, RowInfo::new(self.info.clone()).with_tokens(tokens));
        }
        Ok(response.build())
    }

    async fn health(&self) -> Health {
        Health::ready()
    }
}

fn post_of(path: &str, body: &str) -> Arc<[u8]> {
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}")
        .into_bytes()
        .into()
}

/// Sends a request and reads its answer, by content-length.
async fn exchange(stream: &mut TcpStream, request: &[u8], buffer: &mut Vec<u8>) -> usize {
    stream.write_all(request).await.unwrap();
    buffer.clear();
    loop {
        assert!(stream.read_buf(buffer).await.unwrap() > 0, "the server closed");
        let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = std::str::from_utf8(&buffer[..end]).unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let whole = end + 4 + length.parse::<usize>().unwrap();
        while buffer.len() < whole {
            assert!(stream.read_buf(buffer).await.unwrap() > 0, "the server closed");
        }
        return end + 4;
    }
}

/// How long this many requests take over all connections.
async fn load(address: SocketAddr, request: &Arc<[u8]>, count: u64) -> Duration {
    let mut streams = Vec::new();
    for _ in 0..CONNECTIONS {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        streams.push(stream);
    }
    let started = Instant::now();
    let each = count.div_ceil(CONNECTIONS as u64);
    let tasks: Vec<_> = streams
        .into_iter()
        .map(|mut stream| {
            let request = Arc::clone(request);
            tokio::spawn(async move {
                let mut buffer = Vec::with_capacity(16 << 10);
                for _ in 0..each {
                    exchange(&mut stream, &request, &mut buffer).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    // Scaled down, because whole rounds of all connections may be more requests than wanted.
    started.elapsed().mul_f64(count as f64 / (each * CONNECTIONS as u64) as f64)
}

fn runtime(name: &str) -> Runtime {
    Builder::new_multi_thread().worker_threads(1).thread_name(name).enable_all().build().unwrap()
}

fn over_sockets(criterion: &mut Criterion) {
    let (servers, clients) = (runtime("servers"), runtime("clients"));
    let listen = || servers.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let listener = listen();
    let gateway = listener.local_addr().unwrap();
    let stack = Hit::new();
    let config = GatewayConfig::new([ModelEntry::new("hit", stack.info.clone())]);
    servers.spawn(Gateway::new(Arc::new(stack), config).serve(listener, std::future::pending()));

    for (name, path, body) in [
        (
            "openai base64",
            "/v1/embeddings",
            r#"{"model":"hit","input":"the same text","encoding_format":"base64"}"#,
        ),
        ("openai float", "/v1/embeddings", r#"{"model":"hit","input":"the same text"}"#),
        ("ollama", "/api/embed", r#"{"model":"hit","input":"the same text"}"#),
        ("tei", "/embed", r#"{"inputs":"the same text"}"#),
    ] {
        let request = post_of(path, body);
        let bytes = clients.block_on(async {
            let mut stream = TcpStream::connect(gateway).await.unwrap();
            let mut buffer = Vec::new();
            let start = exchange(&mut stream, &request, &mut buffer).await;
            Bytes::copy_from_slice(&buffer[start..])
        });
        let listener = listen();
        let bare = listener.local_addr().unwrap();
        // It reads the body, as any handler must, and returns the gateway's answer.
        let handler = move |_body: Bytes| {
            let bytes = bytes.clone();
            async move { ([(header::CONTENT_TYPE, "application/json")], bytes) }
        };
        let router = Router::new().route(path, post(handler));
        servers.spawn(async move { axum::serve(listener, router).await });
        let mut group = criterion.benchmark_group(format!("gateway/cached text, {name}"));
        group.throughput(Throughput::Elements(1));
        for (who, address) in [("embed-gateway", gateway), ("bare axum", bare)] {
            group.bench_function(who, |bencher| {
                bencher.iter_custom(|count| clients.block_on(load(address, &request, count)));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, over_sockets);
criterion_main!(benches);
