//! A stack over a server that may be away.

use std::time::Duration;

use embed_core::{Embedder, EmbedderExt, ErrorKind, Role};
use embed_encoder::assets::DataHome;
use embed_stack::{Stack, settings};
use embed_testkit::openai::OpenAiDouble;
use tempfile::TempDir;

use crate::written;

const TEXT: &str = "How high is the mountain?";

async fn stack(url: &str) -> Result<Stack, embed_core::Error> {
    stack_in(&TempDir::new().unwrap(), url).await
}

async fn stack_in(home: &TempDir, url: &str) -> Result<Stack, embed_core::Error> {
    let (_folder, path) = written(&format!(
        "[[model]]\nname = \"remote\"\nbackend = \"openai\"\nmodel = \"text-embedding-3-small\"\nurl = {url:?}\n\
         [gateway]\nlisten = \":0\"\n"
    ));
    let settings = settings::read_file(&path).map_err(embed_core::Error::from).unwrap();
    Stack::build(&settings, &DataHome::new(home.path())).await
}

#[tokio::test]
async fn a_stack_needs_no_model_in_the_process() {
    let double = OpenAiDouble::start().await;
    let stack = stack(&double.url()).await.unwrap();
    let one = stack.encode(TEXT, Role::Query).await.unwrap();
    assert_eq!(one.len(), 64);
    let before = double.requests().len();
    assert_eq!(stack.encode(TEXT, Role::Query).await.unwrap().vector(), one.vector());
    assert_eq!(double.requests().len(), before, "the cache has it");
    let plan = stack.router().plan_query(TEXT).await.unwrap();
    assert_eq!(plan.vectors().count(), 1);
    stack.finish().await.unwrap();
}

#[tokio::test]
async fn a_server_that_is_away_at_first_is_looked_for() {
    let double = OpenAiDouble::start().await;
    let (url, port) = (double.url(), double.port());
    drop(double);
    let stack = stack(&url).await.unwrap();
    assert_eq!(stack.encode(TEXT, Role::Query).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(!stack.health().await.is_available());
    let double = OpenAiDouble::start_at(port).await;
    let found = async {
        loop {
            match stack.encode(TEXT, Role::Query).await {
                Ok(vector) => return vector,
                Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}"),
            }
            tokio::task::yield_now().await;
        }
    };
    let vector = tokio::time::timeout(Duration::from_secs(60), found).await.unwrap();
    assert_eq!(vector.len(), double.vector_of(TEXT).len());
}

/// Between two runs, too, a server can't become another one unnoticed.
#[tokio::test]
async fn a_server_must_be_who_it_was_in_the_last_run() {
    let home = TempDir::new().unwrap();
    let double = OpenAiDouble::start().await;
    let before = stack_in(&home, &double.url()).await.unwrap().encode(TEXT, Role::Query).await.unwrap();
    double.change(|script| script.drift = 3.0);
    let refused = stack_in(&home, &double.url()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::SpaceMismatch, "{refused}");
    let kept = home.path().join("servers").join("remote.json");
    assert!(refused.to_string().contains(kept.to_str().unwrap()), "{refused}");
    double.change(|script| script.drift = 0.0);
    let after = stack_in(&home, &double.url()).await.unwrap().encode(TEXT, Role::Query).await.unwrap();
    assert_eq!(after.info().model.variant(), before.info().model.variant());
    // What the operator wants is done.
    double.change(|script| script.drift = 3.0);
    std::fs::remove_file(&kept).unwrap();
    stack_in(&home, &double.url()).await.unwrap();
    std::fs::write(&kept, "{").unwrap();
    let damaged = stack_in(&home, &double.url()).await.unwrap_err();
    assert!(damaged.to_string().contains("remove the file"), "{damaged}");
}
