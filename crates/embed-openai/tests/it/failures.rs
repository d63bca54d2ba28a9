//! Failures of the server: what is tried again, and what a caller is told.

use std::iter::repeat_n;
use std::time::Duration;

use embed_core::{Embedder, EmbedderExt, ErrorKind, HealthStatus, Retry, TraceContext};
use embed_openai::{OpenAiConfig, OpenAiEmbedder};
use embed_testkit::VirtualTime;
use embed_testkit::ollama::Fault;
use embed_testkit::openai::OpenAiDouble;

use crate::{config, connect, field, quick, request};

fn body(status: u16, body: &str) -> Fault {
    Fault::Answer { status, body: body.into(), content_type: "text/html", retry_after: None }
}

#[tokio::test(start_paused = true)]
async fn each_failure_is_tried_as_often_as_it_is_worth() {
    use ErrorKind::{Config, Overloaded, Protocol, RateLimited, Timeout, Unauthorized, Unavailable};
    let cases = [
        ("broken", Fault::Cut(0), Unavailable, 3),
        ("silence", Fault::Silence, Timeout, 2),
        ("gateway", body(502, "<html>"), Unavailable, 3),
        ("busy", Fault::Error(503, "Loading model".into()), Overloaded, 3),
        ("other-500", Fault::Error(500, "what a text".into()), Unavailable, 2),
        ("not-there", body(501, ""), Config, 1),
        ("no-credentials", body(403, ""), Unauthorized, 1),
        ("no-quota", Fault::Error(429, "insufficient_quota".into()), RateLimited, 1),
        ("no-route", body(404, "404 page not found"), Config, 1),
        ("redirect", Fault::Redirect("/v2/embeddings".into()), Config, 1),
        ("foreign", body(200, "<html>please log in</html>"), Protocol, 1),
        ("unreadable", body(200, "{\"data\":[{\"embedding\":[NaN]}]}"), Protocol, 2),
    ];
    for (rule, fault, kind, requests) in cases {
        let double = OpenAiDouble::start().await;
        let client = connect(config(&double).with_longest_outage(Duration::from_secs(60))).await;
        double.forget();
        double.fail(repeat_n(fault, 20));
        let error = client.encode_query("a text that fails").await.unwrap_err();
        assert_eq!((error.kind(), field(&error, "rule").as_deref()), (kind, Some(rule)), "{error:?}");
        assert_eq!(double.requests().len(), requests, "{rule}");
        let expected = if requests == 1 { Retry::Permanent } else { Retry::Exhausted };
        assert_eq!(error.retry(), expected, "{rule}");
        assert!(!format!("{error:?}").contains("a text"), "{error:?}");
        // What may pass does, when it passes.
        double.forget();
        tokio::time::sleep(Duration::from_secs(120)).await;
        client.encode_query("another text").await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_gone_ends_the_call_soon_and_is_found_when_it_is_back() {
    let double = OpenAiDouble::start().await;
    let (port, client) = (double.port(), connect(config(&double)).await);
    drop(double);
    let time = VirtualTime::start().await;
    let error = client.encode_query("a text").await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Unavailable, Retry::Exhausted));
    assert!(time.passed() < Duration::from_secs(10), "{:?}", time.passed());
    assert_eq!(client.health().await.status(), HealthStatus::Unavailable);
    let double = OpenAiDouble::start_at(port).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    client.encode_query("a text").await.unwrap();
    assert_eq!(client.health().await.status(), HealthStatus::Ready);
    drop(double);
}

#[tokio::test(start_paused = true)]
async fn the_deadline_bounds_a_call() {
    let double = OpenAiDouble::start().await;
    let client = connect(config(&double)).await;
    double.fail([Fault::Silence]);
    let time = VirtualTime::start().await;
    let deadline = (time.started() + Duration::from_secs(2)).into_std();
    let error = client.embed(request(&["a text"]).with_deadline(deadline)).await.unwrap_err();
    assert_eq!((error.kind(), time.passed().as_secs()), (ErrorKind::Timeout, 2));
}

#[tokio::test]
async fn a_call_goes_on_in_the_trace_of_its_caller() {
    let double = OpenAiDouble::start().await;
    let client = connect(quick(&double)).await;
    double.forget();
    let trace = TraceContext::new().with_request_id("a-request");
    client.embed(request(&["a text"]).with_trace(trace)).await.unwrap();
    assert_eq!(double.requests()[0].header("x-request-id"), Some("a-request"));
}

#[tokio::test]
async fn no_server_is_an_error_unless_the_width_is_declared() {
    let double = OpenAiDouble::start().await;
    let port = double.port();
    let config = |double: &OpenAiDouble| quick(double).with_tries(1);
    let (undeclared, declared) = (config(&double), config(&double).with_dimension(64));
    drop(double);
    assert_eq!(OpenAiEmbedder::connect(undeclared).await.unwrap_err().kind(), ErrorKind::Unavailable);
    let client = connect(declared).await;
    assert_eq!(client.dimension(), 64);
    assert!(client.identity().is_none());
    let double = OpenAiDouble::start_at(port).await;
    let row = client.encode_query("a text").await.unwrap();
    assert_eq!(row.info().model, *client.model(), "what was declared is what there is");
    let wrong = OpenAiConfig::new("text-embedding-3-small", double.url()).with_dimension(65);
    assert_eq!(OpenAiEmbedder::connect(wrong).await.unwrap_err().kind(), ErrorKind::SpaceMismatch);
}

#[tokio::test]
async fn a_model_that_is_not_there_is_named_with_the_list() {
    let double = OpenAiDouble::start().await;
    let config = OpenAiConfig::new("another", double.url());
    let error = OpenAiEmbedder::connect(config).await.unwrap_err();
    assert!(error.kind() == ErrorKind::ModelNotFound && error.message().contains("/v1/models"), "{error}");
}
