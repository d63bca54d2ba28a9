//! The workspace's client of Ollama with the gateway: the contract of back ends holds over HTTP.

use std::sync::Arc;

use embed_core::{EmbedderExt, Role};
use embed_ollama::{OllamaConfig, OllamaEmbedder};

use crate::client::{Server, config};
use crate::double::{Double, vector_of};

#[tokio::test]
async fn our_own_client_meets_it_and_keeps_the_contract() {
    let mut server = Server::start(Arc::new(Double::new()), config()).await;
    let config = OllamaConfig::new("double", format!("http://{}", server.address));
    let client = OllamaEmbedder::connect(config).await.unwrap();
    assert_eq!(client.encode_document("hello").await.unwrap().vector(), vector_of(Role::Document, "hello"));
    embed_testkit::contract::check(Arc::new(client)).await;
    server.stop();
    assert_eq!(server.ended().await.cut, 0);
}
