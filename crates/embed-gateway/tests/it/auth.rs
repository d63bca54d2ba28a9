//! Keys, origins, and addresses.

use axum::body::Body;
use axum::http::Request;
use embed_core::ErrorKind;
use embed_gateway::{ApiKey, Gateway};
use std::sync::Arc;
use tokio::net::TcpListener;

use crate::client::{Server, config, over, router, send, talk};
use crate::double::Double;

const PATHS: [(&str, &str); 5] = [
    ("/v1/embeddings", r#"{"model":"double","input":"x"}"#),
    ("/api/embed", r#"{"model":"double","input":"x"}"#),
    ("/embed", r#"{"inputs":"x"}"#),
    ("/route", r#"{"input":"x"}"#),
    ("/nothing", ""),
];

#[tokio::test]
async fn without_a_key_the_answer_is_401_in_each_shape() {
    let router = over(Double::new(), config().with_api_keys([ApiKey::new("ci", "correct horse")]));
    for key in
        [None, Some("Bearer wrong"), Some("Bearer correct horsf"), Some("correct horse"), Some("Basic x")]
    {
        for (path, body) in PATHS {
            let mut request = Request::post(path);
            if let Some(key) = key {
                request = request.header("authorization", key);
            }
            let reply = send(&router, request.body(Body::from(body)).unwrap()).await.expect(401);
            assert_eq!(reply.header("www-authenticate"), Some("Bearer"));
            let json = reply.json();
            match path {
                "/v1/embeddings" => assert_eq!(json["error"]["code"], "invalid_api_key"),
                "/api/embed" => assert!(json["error"].is_string()),
                "/embed" => assert_eq!(json["error_type"], "Validation"),
                _ => assert_eq!(json["error"]["code"], "unauthorized"),
            }
            assert!(!reply.text.contains("horse"));
        }
    }
    for (name, value) in [("authorization", "Bearer correct horse"), ("x-api-key", "correct horse")] {
        let request = Request::post("/embed").header(name, value).body(Body::from(PATHS[2].1)).unwrap();
        send(&router, request).await.expect(200);
    }
    for open in ["/", "/healthz", "/readyz", "/health", "/openapi.json"] {
        send(&router, Request::get(open).body(Body::empty()).unwrap()).await.expect(200);
    }
    for closed in ["/status", "/metrics", "/v1/models", "/api/tags", "/info"] {
        send(&router, Request::get(closed).body(Body::empty()).unwrap()).await.expect(401);
    }
}

#[tokio::test]
async fn a_public_address_needs_a_key_or_permission() {
    let listen = || async { TcpListener::bind("0.0.0.0:0").await.unwrap() };
    let gateway = |config| Gateway::new(Arc::new(Double::new()), config);
    let refused = gateway(config()).serve(listen().await, async {}).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Config);
    assert!(refused.to_string().contains("API key"), "{refused}");
    gateway(config().with_public_without_key(true)).serve(listen().await, async {}).await.unwrap();
    let with_key = config().with_api_keys([ApiKey::new("ci", "secret")]);
    gateway(with_key).serve(listen().await, async {}).await.unwrap();
}

#[tokio::test]
async fn another_machine_s_name_is_refused_on_loopback() {
    let mut server = Server::start(Arc::new(Double::new()), config()).await;
    for (host, status) in [("localhost", "200"), ("127.0.0.1:80", "200"), ("evil.example", "403")] {
        let request = format!("GET /api/tags HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        let answer = talk(&mut server.connect().await, request.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{host}: {answer}");
    }
    server.stop();
    server.ended().await;
}

#[tokio::test]
async fn other_origins_are_allowed_only_if_listed() {
    let preflight = |origin: &str| {
        Request::options("/v1/embeddings")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .body(Body::empty())
            .unwrap()
    };
    let reply = send(&router(), preflight("https://app.example.org")).await.expect(403);
    assert_eq!(reply.header("access-control-allow-origin"), None);
    let keyed = config().with_api_keys([ApiKey::new("ci", "secret")]);
    let router = over(Double::new(), keyed.with_cors_origins(["https://app.example.org"]));
    let reply = send(&router, preflight("https://app.example.org")).await.expect(200);
    assert_eq!(reply.header("access-control-allow-origin"), Some("https://app.example.org"));
    let reply = send(&router, preflight("https://evil.example")).await;
    assert_eq!(reply.header("access-control-allow-origin"), None);
}

/// All steps of a page with a key: the preflight, the request, and the message of a refusal.
#[tokio::test]
async fn a_listed_page_calls_with_a_key() {
    let keyed = config().with_api_keys([ApiKey::new("ci", "secret")]);
    let origins = ["https://*.example.org", "http://localhost:*", "https://one.example/"];
    let router = over(Double::new(), keyed.with_cors_origins(origins));
    for origin in ["https://app.example.org", "http://localhost:3000", "https://one.example"] {
        let preflight = Request::options("/v1/embeddings")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization,content-type,x-request-timeout");
        let reply = send(&router, preflight.body(Body::empty()).unwrap()).await.expect(200);
        assert_eq!(reply.header("access-control-allow-origin"), Some(origin));
        let allowed = reply.header("access-control-allow-headers").unwrap();
        // A `*` doesn't include `Authorization`.
        assert_eq!(allowed, "authorization,content-type,x-request-timeout");
        for (key, status) in [("Bearer secret", 200), ("Bearer wrong", 401)] {
            let request =
                Request::post("/v1/embeddings").header("origin", origin).header("authorization", key);
            let reply = send(&router, request.body(Body::from(PATHS[0].1)).unwrap()).await.expect(status);
            assert_eq!(reply.header("access-control-allow-origin"), Some(origin), "{status}");
        }
    }
    let preflight = Request::options("/v1/embeddings")
        .header("origin", "https://evil.example")
        .header("access-control-request-method", "POST");
    let reply = send(&router, preflight.body(Body::empty()).unwrap()).await;
    assert_eq!(reply.header("access-control-allow-origin"), None);
}

#[tokio::test]
async fn keys_are_replaced_while_the_gateway_runs() {
    let with = |key: &str| config().with_api_keys([ApiKey::new("ci", key)]);
    let (router, watch) = Gateway::new(Arc::new(Double::new()), with("old")).start().unwrap();
    let status = async |key: &str| {
        let request = Request::get("/v1/models").header("x-api-key", key).body(Body::empty()).unwrap();
        send(&router, request).await.status.as_u16()
    };
    assert_eq!((status("old").await, status("new").await), (200, 401));
    watch.reload(&with("new")).unwrap();
    assert_eq!((status("old").await, status("new").await), (401, 200));
    // A file that was emptied by mistake must not disable authentication.
    for bad in [config(), with(" ")] {
        assert_eq!(watch.reload(&bad).unwrap_err().kind(), ErrorKind::Config);
        assert_eq!((status("old").await, status("new").await), (401, 200));
    }
}

/// Clients that aren't web pages get no CORS headers.
#[tokio::test]
async fn other_clients_are_answered_as_before() {
    for path in ["/api/version", "/v1/models"] {
        let reply = send(&router(), Request::get(path).body(Body::empty()).unwrap()).await.expect(200);
        assert!(reply.headers.keys().all(|name| !name.as_str().starts_with("access-control")), "{path}");
        assert_eq!(reply.header("vary"), None, "{path}");
    }
    let request = Request::options("/v1/embeddings").body(Body::empty()).unwrap();
    send(&router(), request).await.expect(405);
}
