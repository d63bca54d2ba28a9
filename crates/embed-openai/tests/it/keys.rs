//! Keys: from a value or a file that is exchanged, and shown to nobody.

use embed_core::{EmbedderExt, ErrorKind};
use embed_openai::{OpenAiEmbedder, Secret};
use embed_testkit::openai::OpenAiDouble;

use crate::{connect, quick};

#[tokio::test]
async fn a_key_is_sent_and_not_shown() {
    let double = OpenAiDouble::start().await;
    double.change(|script| script.key = Some("hush".into()));
    let error = OpenAiEmbedder::connect(quick(&double)).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Unauthorized && error.message().contains("`key`"), "{error}");
    let client = connect(quick(&double).with_key(Secret::new("hush"))).await;
    client.encode_query("a text").await.unwrap();
    let headers = vec![("X-Team".to_owned(), Secret::new("search"))];
    let config = quick(&double).with_key(Secret::new("hush")).with_headers(headers);
    let other = connect(config.clone()).await;
    assert_eq!(double.requests().last().unwrap().header("x-team"), Some("search"));
    double.change(|script| script.key = Some("another".into()));
    let error = other.encode_query("a text").await.unwrap_err();
    assert!(!format!("{error:?}{client:?}{config:?}").contains("hush"));
}

#[tokio::test]
async fn a_file_is_read_again_when_it_is_exchanged() {
    let double = OpenAiDouble::start().await;
    double.change(|script| script.key = Some("first".into()));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    std::fs::write(&file, "first\n").unwrap();
    let client = connect(quick(&double).with_key_file(file.clone())).await;
    client.encode_query("a text").await.unwrap();
    double.change(|script| script.key = Some("other".into()));
    // Of the same length and, on a coarse clock, of the same time: the refusal makes it be read again.
    std::fs::write(&file, "other\n").unwrap();
    client.encode_query("a text").await.unwrap();
}
