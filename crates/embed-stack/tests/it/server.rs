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
    let (_folder, path) = written(&format!(
        "[[model]]\nname = \"remote\"\nbackend = \"openai\"\nmodel = \"text-embedding-3-small\"\nurl = {url:?}\n\
         [gateway]\nlisten = \":0\"\n"
    ));
    let settings = settings::read_file(&path).map_err(embed_core::Error::from).unwrap();
    Stack::build(&settings, &DataHome::new(TempDir::new().unwrap().path())).await
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
