//! Bodies that are too large, too deep, or not even text: the right status in the dialect's shape, without an echo.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::Body;
use axum::http::Request;
use embed_gateway::{AdmissionConfig, Limits};
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::client::{Reply, config, over, post, router, send, until};
use crate::double::Double;

const POSTS: [(&str, &str); 5] = [
    ("/v1/embeddings", "input"),
    ("/api/embed", "input"),
    ("/api/embeddings", "prompt"),
    ("/embed", "inputs"),
    ("/api/show", "model"),
];

/// The message, if the answer is an error in the shape of the path's dialect.
fn message(path: &str, reply: &Reply) -> String {
    let json: Value = reply.json();
    let text = match path {
        "/v1/embeddings" => &json["error"]["message"],
        _ => &json["error"],
    };
    text.as_str().unwrap_or_else(|| panic!("{path}: {}", reply.text)).to_owned()
}

#[tokio::test]
async fn bodies_beyond_the_limit_are_413() {
    let limits = Limits::default().with_bytes(1000, 5000);
    let router = over(Double::new(), config().with_limits(limits));
    for (path, field) in POSTS {
        let body = format!(r#"{{"model":"double","{field}":"{}"}}"#, "secret ".repeat(1000));
        let sized = post(&router, path, body.clone()).await.expect(413);
        assert!(message(path, &sized).contains("1000 bytes"), "{}", sized.text);
        // Without a content-length.
        let chunks: Vec<Result<_, std::io::Error>> =
            body.into_bytes().chunks(100).map(|c| Ok(c.to_vec())).collect();
        let unsized_body = Body::from_stream(futures::stream::iter(chunks));
        post(&router, path, unsized_body).await.expect(413);
    }
}

#[tokio::test]
async fn ten_megabytes_are_read_or_refused() {
    let body = format!(r#"{{"model":"double","input":"{}"}}"#, "x ".repeat(5 << 20));
    let error = post(&router(), "/v1/embeddings", body.clone()).await.expect(400);
    assert_eq!(error.json()["error"]["code"], "context_length_exceeded");
    post(&router(), "/api/embed", body).await.expect(200);
}

#[tokio::test]
async fn texts_beyond_the_limit_are_413() {
    let router = over(Double::new(), config().with_limits(Limits::default().with_rows(3)));
    for (path, field) in [("/v1/embeddings", "input"), ("/api/embed", "input"), ("/embed", "inputs")] {
        let body = |rows: usize| format!(r#"{{"model":"double","{field}":{:?}}}"#, vec!["a"; rows]);
        post(&router, path, body(3)).await.expect(200);
        let reply = post(&router, path, body(4)).await.expect(413);
        assert!(message(path, &reply).contains("more than 3 texts"), "{}", reply.text);
    }
}

#[tokio::test]
async fn bodies_that_are_held_at_once_are_bounded() {
    let limits = Limits::default().with_bytes(4096, 4096);
    let gate = Arc::new(Semaphore::new(0));
    let stack = Arc::new(Double::gated(&gate));
    let router = over(Arc::<Double>::clone(&stack), config().with_limits(limits));
    let body = format!(r#"{{"model":"double","input":["{}"]}}"#, "x".repeat(3000));
    let first = tokio::spawn({
        let (router, body) = (router.clone(), body.clone());
        async move { post(&router, "/v1/embeddings", body).await }
    });
    until(|| stack.running.load(Ordering::SeqCst) == 1).await;
    let second = post(&router, "/v1/embeddings", body.clone()).await;
    assert_eq!(second.expect(503).header("retry-after"), Some("1"));
    gate.add_permits(100);
    first.await.unwrap().expect(200);
    post(&router, "/v1/embeddings", body).await.expect(200);
}

#[tokio::test]
async fn bad_json_is_400_in_each_shape_and_not_repeated() {
    let deep = format!(r#"{{"model":"double","input":{}"#, "[".repeat(1_000_000));
    let bodies: [&[u8]; 9] = [
        b"secret",
        b"",
        b"[1,2]",
        b"\"secret\"",
        b"{\"model\":\"double\",\"input\":\"secret",
        b"{\"model\":\"double\",\"input\":\"secret\xff\xfe\",\"inputs\":\"\xff\",\"prompt\":\"\xff\"}",
        b"{\"model\":secret}",
        b"{\"model\":\"double\",\"input\":NaN,\"inputs\":NaN,\"prompt\":NaN}",
        deep.as_bytes(),
    ];
    for (path, _) in POSTS {
        for body in bodies {
            let reply = post(&router(), path, body.to_vec()).await;
            let expected = if path == "/embed" { 422 } else { 400 };
            let reply = reply.expect(expected);
            assert!(!message(path, &reply).contains("secret"), "{}", reply.text);
        }
    }
}

#[tokio::test]
async fn invalid_headers_are_400() {
    for (name, value) in [
        ("x-request-timeout", "soon"),
        ("x-request-timeout", "-1"),
        ("x-request-timeout", "NaN"),
        ("x-request-timeout", "0"),
        ("x-embed-partition", ""),
    ] {
        let request = Request::post("/api/embed").header(name, value).body(Body::from("{}")).unwrap();
        let reply = send(&router(), request).await.expect(400);
        assert!(message("/api/embed", &reply).contains(name));
    }
}

#[tokio::test]
async fn a_panic_is_a_500_that_says_nothing() {
    let router = over(Double::new(), config().with_admission(AdmissionConfig::default().with_bounds(1, 1)));
    for _ in 0..3 {
        let reply =
            post(&router, "/v1/embeddings", r#"{"model":"double","input":"panic"}"#).await.expect(500);
        assert!(!reply.text.contains("secret"), "{}", reply.text);
    }
    post(&router, "/v1/embeddings", r#"{"model":"double","input":"x"}"#).await.expect(200);
}
