//! Wrong addresses, wrong servers, wrong models, wrong texts: one clear error each.

use std::time::Duration;

use embed_core::{EmbedRequest, Embedder, EmbedderExt, ErrorKind, HealthStatus, Retry, Role, Truncation};
use embed_ollama::{OllamaConfig, OllamaEmbedder, Secret};
use embed_testkit::ollama::OllamaDouble;
use tokio::net::TcpListener;

use crate::{VERSIONS, config, connect, field, quick};

async fn refused(config: OllamaConfig) -> embed_core::Error {
    let config = config.with_pauses(Duration::from_millis(1), Duration::from_millis(2));
    OllamaEmbedder::connect(config).await.unwrap_err()
}

#[tokio::test]
async fn no_server_there() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = refused(OllamaConfig::new("all-minilm", format!("http://{free}"))).await;
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Unavailable, Retry::Exhausted));
    assert_eq!(field(&error, "rule").as_deref(), Some("refused"));
    assert!(error.to_string().contains("ollama serve") && error.to_string().contains(&free.to_string()));
}

#[tokio::test]
async fn a_name_without_an_address() {
    let error = refused(OllamaConfig::new("all-minilm", "http://no-such-host.invalid")).await;
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Unavailable, Retry::Exhausted));
    assert_eq!(field(&error, "rule").as_deref(), Some("no-address"), "{error:?}");
}

#[tokio::test]
async fn tls_to_a_plain_port() {
    let double = OllamaDouble::start("0.9.3").await;
    let error = refused(OllamaConfig::new("all-minilm", double.url().replace("http:", "https:"))).await;
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Unavailable, Retry::Exhausted));
    assert_eq!(field(&error, "rule").as_deref(), Some("tls"), "{error:?}");
    assert!(error.to_string().contains("scheme"));
}

#[tokio::test]
async fn a_portal_instead_of_a_server() {
    let double = OllamaDouble::start("0.9.3").await;
    double.change(|script| script.portal = true);
    let error = refused(config(&double)).await;
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Protocol, Retry::Permanent));
    assert!(error.to_string().contains("not Ollama"));
    assert_eq!(double.requests().len(), 1);
}

#[tokio::test]
async fn another_path_or_server() {
    let double = OllamaDouble::start("0.9.3").await;
    let error = refused(OllamaConfig::new("all-minilm", format!("{}/elsewhere", double.url()))).await;
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Config, Retry::Permanent));
    assert_eq!(field(&error, "rule").as_deref(), Some("no-route"));
}

#[tokio::test]
async fn slashes_are_never_doubled_and_a_doubled_one_is_explained() {
    let double = OllamaDouble::start("0.9.3").await;
    for address in ["", "/", "//", "/api", "/api/", "/api//"] {
        let url = format!("{}{address}", double.url());
        connect(OllamaConfig::new("all-minilm", url)).await.encode_query("a").await.unwrap();
    }
    assert!(double.requests().iter().all(|request| !request.path.contains("//")));
    let error = refused(OllamaConfig::new("all-minilm", format!("{}/a//b", double.url()))).await;
    assert_eq!(error.kind(), ErrorKind::Config);
    assert_eq!(field(&error, "field").as_deref(), Some("servers"));
}

#[tokio::test]
async fn an_empty_or_unknown_model_and_one_for_chat() {
    for version in VERSIONS {
        let double = OllamaDouble::start(version).await;
        let with = |model: &str| OllamaConfig::new(model, double.url());
        let error = refused(with("")).await;
        assert_eq!((error.kind(), field(&error, "field").as_deref()), (ErrorKind::Config, Some("model")));

        let error = refused(with("nomic-embed-text")).await;
        assert_eq!((error.kind(), error.retry()), (ErrorKind::ModelNotFound, Retry::Permanent), "{version}");
        assert!(error.to_string().contains("ollama pull nomic-embed-text"), "{error}");

        let error = refused(with("llama3")).await;
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Config, Retry::Permanent), "{version}");
        assert!(error.to_string().contains("not a model for embedding"), "{error}");
        assert_eq!(double.loads(), 0, "{version}: nothing is loaded to find that out");
    }
    // Whoever insists learns it from the server.
    let double = OllamaDouble::start("0.30.0").await;
    let config = OllamaConfig::new("llama3", double.url()).with_allow_chat_models(true);
    let error = refused(config).await;
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Config, Retry::Permanent));
    assert!(error.to_string().contains("can't embed"), "{error}");
}

#[tokio::test]
async fn a_model_that_goes_away_while_it_is_used() {
    let double = OllamaDouble::start("0.9.3").await;
    let client = connect(quick(&double)).await;
    double.change(|script| script.model = "something-else:latest".into());
    let error = client.encode_query("a text").await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::ModelNotFound, Retry::Permanent));
    assert!(error.to_string().contains("ollama pull all-minilm"));
}

#[tokio::test]
async fn empty_texts_and_texts_of_five_megabytes_are_not_sent() {
    let double = OllamaDouble::start("0.9.3").await;
    let client = connect(quick(&double)).await;
    double.forget();
    let large = "word ".repeat(1 << 20);
    let texts = ["", large.as_str(), "a text", "\u{3000}\n"];
    let response = client.embed(EmbedRequest::new(texts, Role::Query)).await.unwrap();
    let kinds: Vec<_> = response.errors().map(|(row, error)| (row, error.kind(), error.retry())).collect();
    assert_eq!(
        kinds,
        [
            (0, ErrorKind::InvalidInput, Retry::Permanent),
            (1, ErrorKind::InputTooLong, Retry::Permanent),
            (3, ErrorKind::InvalidInput, Retry::Permanent)
        ]
    );
    let sent = double.requests_for("/api/embed");
    assert_eq!((sent.len(), sent[0].inputs()), (1, 1));
    assert_eq!(field(response.row(1).unwrap_err(), "bytes").as_deref(), Some("5242880"));

    // Its start can be had: only as much is sent as the model reads.
    double.forget();
    let cut = EmbedRequest::new([large], Role::Query).with_truncation(Truncation::End);
    let response = client.embed(cut).await.unwrap();
    assert!(response.row(0).unwrap().info().truncated);
    let sent = double.requests_for("/api/embed");
    assert!(sent.len() < 10 && sent.iter().all(|request| request.body.to_string().len() < 10_000));
}

#[tokio::test]
async fn proxies_get_their_token_and_nobody_sees_it() {
    let double = OllamaDouble::start("0.9.3").await;
    double.change(|script| script.token = Some("hush".into()));
    let error = refused(config(&double)).await;
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Unauthorized, Retry::Permanent));
    let mut with = config(&double);
    with.token = Some(Secret::new("hush"));
    with.headers = vec![("X-Tenant".to_owned(), Secret::new("hush-too"))];
    let client = connect(with).await;
    client.encode_query("a").await.unwrap();
    assert_eq!(double.requests().last().unwrap().header("x-tenant"), Some("hush-too"));
    assert!(!format!("{client:?}").contains("hush"));
}

#[tokio::test]
async fn health_says_whether_it_answers() {
    let double = OllamaDouble::start("0.9.3").await;
    let client = connect(quick(&double)).await;
    assert_eq!(client.health().await.status(), HealthStatus::Ready);
    drop(double);
    let health = client.health().await;
    assert_eq!(health.status(), HealthStatus::Unavailable);
    assert_eq!(health.reason().unwrap().kind(), ErrorKind::Unavailable);
}
