//! A gateway over a self-contained stack: `cargo run -p embed-gateway --example gateway -- 127.0.0.1:8080`.
//!
//! Its vectors are made from hashed pairs of characters, so texts with words in common are similar. Use it to try the page
//! and clients.

use std::env;
use std::error::Error as StdError;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;

use embed_core::{
    EmbedRequest, EmbedResponse, Embedder, Error, ErrorKind, Health, ModelInfo, Result, RowInfo, Space,
    TokenCount, Variant, async_trait, vector,
};
use embed_gateway::{
    CacheStatus, Explainer, Explanation, Gateway, GatewayConfig, ModelEntry, RouteStatus, StackStatus,
};

const DIMENSION: usize = 384;

#[derive(Debug)]
struct Words {
    latin: ModelInfo,
    other: ModelInfo,
}

fn is_latin(text: &str) -> bool {
    text.is_ascii()
}

fn model(name: &str) -> ModelInfo {
    let variant = Variant::new(Space::builder(name, DIMENSION).build(), [("version", "1")]);
    ModelInfo::builder("example", name, variant).max_tokens(512).build()
}

/// One direction for each pair of neighbouring characters.
fn embed(text: &str) -> Vec<f32> {
    let hasher = BuildHasherDefault::<DefaultHasher>::default();
    let characters: Vec<char> = text.to_lowercase().chars().collect();
    let mut values = vec![0.001; DIMENSION];
    for pair in characters.windows(2) {
        values[hasher.hash_one(pair) as usize % DIMENSION] += 1.0;
    }
    vector::normalise(&mut values);
    values
}

#[async_trait]
impl Embedder for Words {
    fn model(&self) -> &ModelInfo {
        &self.latin
    }

    async fn embed(&self, request: EmbedRequest) -> Result<EmbedResponse> {
        let mut response = EmbedResponse::builder(request.texts().len(), DIMENSION);
        for (index, text) in request.texts().iter().enumerate() {
            if text.trim().is_empty() {
                response.fail(index, Error::new(ErrorKind::InvalidInput, "the text is empty"));
                continue;
            }
            let model = if is_latin(text) { &self.latin } else { &self.other };
            let words = text.split_whitespace().count();
            let tokens = TokenCount { used: words, total: words };
            response.put(index, &embed(text), RowInfo::new(model.clone()).with_tokens(tokens));
        }
        Ok(response.build())
    }

    async fn health(&self) -> Health {
        Health::ready()
    }
}

#[derive(Debug)]
struct ByScript;

impl Explainer for ByScript {
    fn explain(&self, text: &str, _role: embed_core::Role, _partition: Option<&str>) -> Explanation {
        let (language, name) = if is_latin(text) { ("en", "words-latin") } else { ("und", "words-other") };
        Explanation::new(language, 1.0, "ascii").with_route(name, model(name).space().id())
    }
}

#[tokio::main(flavor = "multi_thread")]
async fn main() -> Result<(), Box<dyn StdError>> {
    let address = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let stack = Words { latin: model("words-latin"), other: model("words-other") };
    let auto = ModelEntry::new("auto", stack.latin.clone()).with_mixed_spaces(true);
    let latin = ModelEntry::new("words-latin", stack.latin.clone()).with_aliases(["text-embedding-3-small"]);
    let gateway = Gateway::new(Arc::new(stack), GatewayConfig::new([auto, latin]))
        .with_explainer(Arc::new(ByScript))
        .with_metrics(|| "# TYPE up gauge\nup 1\n".to_owned())
        .with_status(|| {
            let route = |name: &str| RouteStatus::new(name, name, model(name).space().id(), "ready");
            let cache = CacheStatus::new("memory", "ready").with_bytes(0);
            StackStatus::new(vec![route("words-latin"), route("words-other")], vec![cache])
        });
    let listener = tokio::net::TcpListener::bind(&address).await?;
    let interrupted = async {
        let _ = tokio::signal::ctrl_c().await;
    };
    gateway.serve(listener, interrupted).await?;
    Ok(())
}
