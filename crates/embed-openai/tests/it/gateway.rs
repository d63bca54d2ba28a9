//! The client against this project's own gateway.

use std::sync::Arc;

use embed_core::{Embedder, EmbedderExt, ErrorKind};
use embed_gateway::{ApiKey, Gateway, GatewayConfig, ModelEntry};
use embed_openai::{OpenAiConfig, OpenAiEmbedder, Secret};
use embed_testkit::contract::check;
use embed_testkit::openai::OpenAiDouble;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::{connect, quick, request, rows_are_right, texts};

/// A gateway over a client of the double: what it hands on is what it was given.
async fn gateway(double: &OpenAiDouble) -> (String, JoinHandle<()>) {
    let stack: Arc<dyn Embedder> = Arc::new(connect(quick(double).with_max_tokens(512)).await);
    let model = ModelEntry::new("a-model", stack.model().clone());
    let config =
        GatewayConfig::new([model]).with_api_keys([ApiKey::new("tests", "a long secret of the tests")]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = Gateway::new(stack, config).serve(listener, std::future::pending());
    (
        url,
        tokio::spawn(async move {
            server.await.unwrap();
        }),
    )
}

#[tokio::test]
async fn the_gateway_is_a_server_like_others() {
    let double = OpenAiDouble::start().await;
    let (url, server) = gateway(&double).await;
    let config = OpenAiConfig::new("a-model", &url);
    let error = OpenAiEmbedder::connect(config.clone()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
    let config = config.with_key(Secret::new("a long secret of the tests")).with_max_tokens(512);
    let client = Arc::new(connect(config).await);
    assert_eq!(client.dimension(), 64);
    let texts = texts(300);
    rows_are_right(&double, &client.embed(request(&texts)).await.unwrap(), &texts);
    check(client).await;
    server.abort();
}
