//! `/`: a page for browsers, a sentence for other clients.

use axum::body::Body;
use axum::http::Request;

use crate::client::{router, send};

async fn ask(method: &str, accept: &str) -> crate::client::Reply {
    let request =
        Request::builder().method(method).uri("/").header("accept", accept).body(Body::empty()).unwrap();
    send(&router(), request).await.expect(200)
}

#[tokio::test]
async fn clients_of_ollama_are_told_that_it_runs() {
    let reply = ask("GET", "*/*").await;
    assert_eq!(reply.text, "Ollama is running");
    assert_eq!(reply.header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(ask("HEAD", "application/json").await.text, "");
}

#[tokio::test]
async fn browsers_get_a_page_that_needs_nothing_else() {
    let reply = ask("GET", "text/html,application/xhtml+xml,*/*;q=0.8").await;
    assert_eq!(reply.header("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(reply.header("vary"), Some("Accept"));
    let policy = reply.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'") && policy.contains("script-src 'sha256-"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    // The namespace of SVG is allowed, because it isn't fetched.
    let page = reply.text.replace("http://www.w3.org/2000/svg", "");
    for outside in ["http://", "https://", "//cdn", "@import", "url("] {
        assert!(!page.contains(outside), "the page contains {outside}");
    }
    for inline in [" style=\"", " onclick=", "javascript:"] {
        assert!(!page.contains(inline), "the policy would block {inline}");
    }
    for label in ["<main", "lang=\"en\"", "aria-live", "<label"] {
        assert!(page.contains(label), "{label} is missing");
    }
}
