//! When a request has ended for an observer: with its whole answer, or with its client.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use embed_gateway::{Gateway, ObservedRequest, Observer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::client::{config, raw_post, read_reply, until};
use crate::double::Double;

#[derive(Debug, Default)]
struct Counts {
    begun: AtomicUsize,
    answered: AtomicUsize,
    gone: AtomicUsize,
}

#[derive(Debug, Default, Clone)]
struct Counting(Arc<Counts>);

struct Counted {
    counts: Arc<Counts>,
    answered: bool,
}

impl Observer for Counting {
    fn request(&self, _: &'static str) -> Box<dyn ObservedRequest> {
        self.0.begun.fetch_add(1, Ordering::SeqCst);
        Box::new(Counted { counts: Arc::clone(&self.0), answered: false })
    }

    fn wait(&self) -> Box<dyn Any + Send> {
        Box::new(())
    }
}

impl ObservedRequest for Counted {
    fn answered(mut self: Box<Self>, _: u16) {
        self.answered = true;
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let count = if self.answered { &self.counts.answered } else { &self.counts.gone };
        count.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn an_answer_that_is_not_received_does_not_count() {
    let counting = Counting::default();
    let counts = Arc::clone(&counting.0);
    let count = |of: &AtomicUsize| of.load(Ordering::SeqCst);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let gateway = Gateway::new(Arc::new(Double::new()), config()).with_observer(Arc::new(counting));
    tokio::spawn(gateway.serve(listener, std::future::pending()));

    let mut stream = TcpStream::connect(address).await.unwrap();
    let requests = [
        raw_post("/api/embed", r#"{"model":"double","input":"x"}"#),
        raw_post("/api/embed", "{"),
        "HEAD /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n".to_owned(),
        "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n".to_owned(),
    ];
    for (at, request) in requests.iter().enumerate() {
        stream.write_all(request.as_bytes()).await.unwrap();
        if request.starts_with("HEAD") {
            while stream.read_u8().await.unwrap() != b'\n' || stream.read_u8().await.unwrap() != b'\r' {}
            stream.read_u8().await.unwrap();
        } else {
            read_reply(&mut stream).await;
        }
        until(|| count(&counts.answered) == at + 1).await;
    }
    assert_eq!(count(&counts.gone), 0);

    // An answer larger than any socket's buffer, whose client disconnects after the first byte.
    let body = serde_json::json!({ "model": "double", "input": vec!["x"; 20_000] }).to_string();
    stream.write_all(raw_post("/v1/embeddings", &body).as_bytes()).await.unwrap();
    stream.read_u8().await.unwrap();
    drop(stream);
    until(|| count(&counts.gone) == 1).await;
    assert_eq!((count(&counts.begun), count(&counts.answered)), (5, 4));
}
