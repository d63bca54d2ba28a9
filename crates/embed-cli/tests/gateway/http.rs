//! Asking over HTTP, a connection at a time: what a test must know is what came over which connection.

use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{HeaderMap, Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

/// How long an answer, or a change of state, may take. It is reached only by what never comes.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// A connection that is kept between requests.
#[derive(Debug)]
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    host: String,
}

impl Connection {
    pub(crate) async fn open(url: &str) -> Result<Self, Error> {
        let host = url.trim_start_matches("http://").to_owned();
        let (sender, connection) = http1::handshake(TokioIo::new(TcpStream::connect(&host).await?)).await?;
        // It ends with the connection, and what is wrong with it shows in the request.
        tokio::spawn(connection);
        Ok(Self { sender, host })
    }

    /// Sends a request and reads the answer.
    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Reply, Error> {
        let (mut head, body) = request.into_parts();
        head.headers.insert("host", self.host.parse()?);
        timeout(PATIENCE, async {
            self.sender.ready().await?;
            let (head, body) = self.sender.send_request(Request::from_parts(head, body)).await?.into_parts();
            let body = body.collect().await?.to_bytes();
            Ok(Reply { status: head.status, headers: head.headers, body })
        })
        .await?
    }
}

pub(crate) fn request(method: &str, path: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    let method: Method = method.parse().unwrap();
    Request::builder().method(method).uri(path).body(Full::new(body.into())).unwrap()
}

/// Sends a request over a new connection.
pub(crate) async fn ask(url: &str, request: Request<Full<Bytes>>) -> Result<Reply, Error> {
    Connection::open(url).await?.send(request).await
}

pub(crate) async fn get(url: &str, path: &str) -> Reply {
    ask(url, request("GET", path, "")).await.unwrap()
}

/// The sum of the series of a metric whose labels have all of these, such as `part="redis"`.
pub(crate) async fn metric(url: &str, name: &str, labels: &[&str]) -> f64 {
    let text = get(url, "/metrics").await.text();
    let values = text.lines().filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let (of, rest) = series.split_once('{').unwrap_or((series, ""));
        let fits = of == name && labels.iter().all(|label| rest.contains(label));
        fits.then(|| value.parse::<f64>().unwrap())
    });
    let values: Vec<f64> = values.collect();
    assert!(!values.is_empty(), "no series {name} {labels:?} in {text}");
    values.iter().sum()
}

/// Asks again and again until it is so; another process gives no sign that could be waited for.
pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    let mut turns = interval(Duration::from_millis(50));
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !is_so().await {
        assert!(Instant::now() < end, "after {} s it isn't so that {what}", PATIENCE.as_secs());
        turns.tick().await;
    }
}
