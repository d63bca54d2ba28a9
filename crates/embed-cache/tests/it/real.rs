//! The real back ends behind the cache: a second pass doesn't call them, and returns the same bits.

use embed_cache::{Cache, CacheConfig, Cached, MemoryConfig, MemoryTier};
use embed_core::{EmbedRequest, EmbedResponse, Embedder, Role, Truncation};
use embed_e5::{E5Config, E5Embedder};
use embed_ollama::{OllamaConfig, OllamaEmbedder};
use embed_testkit::{data, ollama::rig, require};

/// A thousand different short texts made of the words of real ones.
fn texts(language: Option<&str>) -> Vec<String> {
    let articles =
        data::udhr().into_iter().filter(|article| language.is_none_or(|code| article.language == code));
    let words: Vec<String> = articles.flat_map(|article| words(&article.text)).collect();
    (0..1000).map(|index| words[index..].iter().take(6).cloned().collect::<Vec<_>>().join(" ")).collect()
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn memory() -> Cache {
    let tier = MemoryTier::new(MemoryConfig::default()).unwrap();
    Cache::new(CacheConfig::default(), vec![std::sync::Arc::new(tier)]).unwrap()
}

async fn pass<E: Embedder>(service: &Cached<E>, texts: &[String]) -> EmbedResponse {
    let request = EmbedRequest::new(texts.iter().map(String::as_str), Role::Document);
    service.embed(request.with_truncation(Truncation::End)).await.unwrap()
}

fn bits(vector: &[f32]) -> impl Iterator<Item = u32> {
    vector.iter().map(|number| number.to_bits())
}

async fn the_second_pass_is_free<E: Embedder>(embedder: E, texts: Vec<String>) {
    let service = Cached::new(embedder, memory());
    let first = pass(&service, &texts).await;
    let computed = service.stats().await.computed;
    for _ in 0..3 {
        let second = pass(&service, &texts).await;
        for (one, other) in first.rows().zip(second.rows()) {
            let (one, other) = (one.unwrap(), other.unwrap());
            assert!(bits(one.vector()).eq(bits(other.vector())));
            assert_eq!(one.info().tokens, other.info().tokens);
            assert_eq!((one.info().tier.as_deref(), other.info().tier.as_deref()), (None, Some("memory")));
        }
    }
    let stats = service.stats().await;
    assert_eq!((stats.computed, stats.tiers[0].hits), (computed, 3000), "the back end was called");
}

#[tokio::test]
async fn e5() {
    if let Some(embedder) =
        require("multilingual-e5-small (int8)", E5Embedder::load(E5Config::default()).await)
    {
        the_second_pass_is_free(embedder, texts(None)).await;
    }
}

#[tokio::test]
async fn ollama() {
    let Some(server) = rig::require("0.5.4") else { return };
    let embedder = OllamaEmbedder::connect(OllamaConfig::new("all-minilm", server.url())).await.unwrap();
    the_second_pass_is_free(embedder, texts(Some("en"))).await;
}
