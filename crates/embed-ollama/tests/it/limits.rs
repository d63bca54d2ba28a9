//! No answer is read without a bound, and passwords of addresses show nowhere.

use embed_core::{EmbedderExt, ErrorKind};
use embed_ollama::{OllamaConfig, OllamaEmbedder, OllamaModels};
use embed_testkit::ollama::{Fault, OllamaDouble};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::{connect, field, quick};

/// Far more than an answer to one text can be.
const HUGE: usize = 8 << 20;

#[tokio::test]
async fn rows_that_are_too_long_are_refused() {
    for version in ["0.2.0", "0.9.3"] {
        let double = OllamaDouble::start(version).await;
        let client = connect(quick(&double)).await;
        let body = format!("{{\"embeddings\":[[{}1]]}}", "0.5,".repeat(HUGE / 4));
        let fault = Fault::Answer { status: 200, body, content_type: "application/json", retry_after: None };
        double.fail(std::iter::repeat_n(fault, 2));
        let error = client.encode_query("a text").await.unwrap_err();
        assert_eq!((error.kind(), field(&error, "rule").as_deref()), (ErrorKind::Protocol, Some("too-much")));
        client.encode_query("another text").await.unwrap();
    }
}

#[tokio::test]
async fn an_error_that_is_too_long_is_known_by_its_status() {
    let double = OllamaDouble::start("0.9.3").await;
    let client = connect(quick(&double)).await;
    let body = format!("{{\"error\":\"{}\"}}", "x".repeat(HUGE));
    let fault = Fault::Answer { status: 401, body, content_type: "application/json", retry_after: None };
    double.fail([fault]);
    let error = client.encode_query("a text").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
    assert!(error.to_string().len() < 1000, "{}", error.to_string().len());
}

/// A server whose answers never end.
async fn endless() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 4096]).await;
                let head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n{\"models\":[";
                let _ = stream.write_all(head).await;
                while stream.write_all(&[b' '; 64 << 10]).await.is_ok() {}
            });
        }
    });
    url
}

#[tokio::test]
async fn what_never_ends_is_given_up() {
    let url = endless().await;
    let config = OllamaConfig::new("all-minilm", &url);
    let models = OllamaModels::new(config.clone()).unwrap();
    let mut errors = vec![models.version().await.unwrap_err(), models.show("all-minilm").await.unwrap_err()];
    errors.push(models.list().await.unwrap_err());
    errors.push(models.pull("all-minilm").await.unwrap().next().await.unwrap().unwrap_err());
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
    }
}

#[tokio::test]
async fn user_and_password_of_an_address_are_sent_and_not_shown() {
    let double = OllamaDouble::start("0.9.3").await;
    let with = double.url().replace("http://", "http://me:hu%24sh@");
    let config = OllamaConfig::new("all-minilm", &with)
        .with_pauses(std::time::Duration::from_millis(1), std::time::Duration::from_millis(1));
    let client = connect(config.clone()).await;
    client.encode_query("a text").await.unwrap();
    // What `me:hu$sh` is in Base64.
    let sent: Vec<_> =
        double.requests().iter().map(|request| request.header("authorization").map(str::to_owned)).collect();
    assert!(sent.iter().all(|header| header.as_deref() == Some("Basic bWU6aHUkc2g=")), "{sent:?}");
    let models = OllamaModels::new(config.clone()).unwrap();
    let mut said = format!("{config:?} {client:?} {:?} {} {models:?}", client.servers(), models.url());
    drop(double);
    for error in
        [client.encode_query("a text").await.unwrap_err(), OllamaEmbedder::connect(config).await.unwrap_err()]
    {
        said += &format!("{error} {error:?}");
    }
    for secret in ["hu%24sh", "hu$sh", "bWU6aHUkc2g"] {
        assert!(!said.contains(secret), "{said}");
    }
    assert_eq!(embed_ollama::shown_url(&with), with.replace("me:hu%24sh", "***"));
}
