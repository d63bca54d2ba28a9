//! `GET /`: a page for browsers, and "Ollama is running" for other clients.

use std::sync::LazyLock;

use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
const BODY: &str = include_str!("body.html");

/// One self-contained file.
static PAGE: LazyLock<String> = LazyLock::new(|| {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>embed gateway</title>\n<link rel=\"icon\" href=\"data:,\">\n<style>{STYLE}</style>\n</head>\n\
         {BODY}<script>{SCRIPT}</script>\n</html>\n"
    )
});

/// Only this style and script are allowed, and only this server can be called, whatever texts the page shows.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let hash = |source: &str| STANDARD.encode(Sha256::digest(source.as_bytes()));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; connect-src 'self'; \
         img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hash(STYLE),
        hash(SCRIPT)
    );
    HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
});

pub(crate) async fn root(headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut response = if accept.contains("text/html") {
        let kind = (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        let policy = (header::CONTENT_SECURITY_POLICY, POLICY.clone());
        let referrer = (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        ([kind, policy, referrer], PAGE.as_str()).into_response()
    } else {
        // What clients expect that check whether a server is running.
        "Ollama is running".into_response()
    };
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
    response
}
