//! Clients of a gateway: without a socket and over one.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use embed_core::Embedder;
use embed_gateway::{Drained, Gateway, GatewayConfig, ModelDetails, ModelEntry};
use http_body_util::BodyExt;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tower::ServiceExt;

use crate::double::{Double, Words, model};

/// A complete answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Panics unless this is the status.
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        self
    }
}

/// One model, `double`, also called `text-embedding-3-small`, and `intfloat/Double-Small` on the hub.
pub(crate) fn config() -> GatewayConfig {
    let details = ModelDetails::default()
        .with_size(Some(22_565_376), Some(45_949_638))
        .with_precision("F16", Some("float16"));
    let model = ModelEntry::new("double", model("double"))
        .with_aliases(["text-embedding-3-small", "intfloat/Double-Small"])
        .with_tokenizer(Arc::new(Words))
        .with_details(details);
    GatewayConfig::new([model])
}

pub(crate) fn router() -> Router {
    over(Double::new(), config())
}

pub(crate) fn over(stack: impl Embedder, config: GatewayConfig) -> Router {
    Gateway::new(Arc::new(stack), config).into_router().unwrap()
}

pub(crate) async fn send(router: &Router, request: Request<Body>) -> Reply {
    let response = router.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    Reply { status: parts.status, headers: parts.headers, text: String::from_utf8(bytes.to_vec()).unwrap() }
}

pub(crate) async fn post(router: &Router, path: &str, body: impl Into<Body>) -> Reply {
    send(router, Request::post(path).body(body.into()).unwrap()).await
}

pub(crate) async fn get(router: &Router, path: &str) -> Reply {
    send(router, Request::get(path).body(Body::empty()).unwrap()).await
}

/// A gateway on a socket of this machine.
pub(crate) struct Server {
    pub(crate) address: std::net::SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<embed_core::Result<Drained>>,
}

impl Server {
    pub(crate) async fn start(stack: Arc<dyn Embedder>, config: GatewayConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(Gateway::new(stack, config).serve(listener, async {
            let _ = stopped.await;
        }));
        Self { address, stop: Some(stop), task }
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Begins the shutdown.
    pub(crate) fn stop(&mut self) {
        let _ = self.stop.take().unwrap().send(());
    }

    pub(crate) async fn ended(self) -> Drained {
        self.task.await.unwrap().unwrap()
    }
}

/// The bytes of a POST over a socket.
pub(crate) fn raw_post(path: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

/// Reads one answer from a connection: its head, and its body by content-length.
pub(crate) async fn read_reply(stream: &mut TcpStream) -> (String, String) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return (String::from_utf8(head).unwrap(), String::new()),
        }
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).await.unwrap();
    (head, String::from_utf8(body).unwrap())
}

/// Sends bytes and reads until the other side closes.
pub(crate) async fn talk(stream: &mut TcpStream, bytes: &[u8]) -> String {
    // The other side may close before it has read everything.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// Waits until a condition holds, by yielding.
pub(crate) async fn until(mut so: impl FnMut() -> bool) {
    while !so() {
        tokio::task::yield_now().await;
    }
}
