//! A vector of one variant, role or truncation is never returned for another.

use embed_cache::Cached;
use embed_core::{EmbedRequest, Embedder, EmbedderExt, PrefixScheme, Role, Space, Truncation, Variant};
use embed_testkit::Scripted;

use crate::double::{MapTier, cache, documents, right, sources};

const TEXT: &str = "database query optimization";

#[tokio::test]
async fn a_query_is_not_a_document() {
    let service = Cached::new(Scripted::new("e5", 8), cache(&[&MapTier::local("memory")]));
    let query = service.encode_query(TEXT).await.unwrap();
    let document = service.encode_document(TEXT).await.unwrap();
    assert_eq!(query.vector(), service.inner().vector(TEXT, Role::Query));
    assert_eq!(document.vector(), service.inner().vector(TEXT, Role::Document));
    assert_ne!(query.vector(), document.vector());
    assert_eq!(service.encode_query(TEXT).await.unwrap().vector(), query.vector());
}

#[tokio::test]
async fn two_models_of_one_width_share_tiers_and_no_row() {
    let cache = cache(&[&MapTier::local("memory"), &MapTier::remote("redis")]);
    let (one, other) =
        (Cached::new(Scripted::new("minilm", 8), cache.clone()), Cached::new(Scripted::new("e5", 8), cache));
    for _ in 0..2 {
        right(&one, &[TEXT]).await;
        right(&other, &[TEXT]).await;
    }
    assert_eq!((one.inner().calls(), other.inner().calls()), (1, 1));
}

/// Variants of one space whose ids differ in one trait only: precision, the server's digest, its version.
#[tokio::test]
async fn two_variants_of_one_space_share_no_row() {
    let space = Space::builder("e5", 8).prefixes(PrefixScheme::QueryPassage).build();
    let cache = cache(&[&MapTier::local("memory"), &MapTier::remote("redis")]);
    let mut services = Vec::new();
    for traits in [
        [("precision", "int8"), ("digest", "aa")],
        [("precision", "f32"), ("digest", "aa")],
        [("precision", "int8"), ("digest", "ab")],
        [("precision", "int8"), ("server", "aa")],
    ] {
        let variant = Variant::new(space.clone(), traits);
        services.push(Cached::new(Scripted::of_variant("e5", variant), cache.clone()));
    }
    for service in &services {
        let response = right(service, &[TEXT]).await;
        assert_eq!(sources(&response), [""]);
        assert_eq!(response.row(0).unwrap().info().model.variant(), service.model().variant());
        cache.flush(std::time::Duration::from_secs(5)).await.unwrap();
    }
    for service in &services {
        let response = right(service, &[TEXT]).await;
        assert_eq!(sources(&response), ["memory"]);
        assert_eq!(response.row(0).unwrap().info().model.variant(), service.model().variant());
    }
}

#[tokio::test]
async fn each_truncation_of_a_text_is_a_row_of_its_own() {
    let model = Scripted::new("e5", 8);
    let model = embed_core::ModelInfo::builder("scripted", "e5", model.model().variant().clone())
        .max_tokens(2)
        .build();
    let service = Cached::new(Scripted::of_model(model), cache(&[&MapTier::local("memory")]));
    let request = |policy| documents([TEXT]).with_truncation(policy);
    for _ in 0..2 {
        assert!(service.embed(request(Truncation::Error)).await.unwrap().row(0).is_err());
        let end = service.embed(request(Truncation::End)).await.unwrap();
        let start = service.embed(request(Truncation::Start)).await.unwrap();
        assert_eq!(end.row(0).unwrap().vector(), service.inner().vector("database query", Role::Document));
        assert_eq!(
            start.row(0).unwrap().vector(),
            service.inner().vector("query optimization", Role::Document)
        );
        assert!(end.row(0).unwrap().info().truncated && start.row(0).unwrap().info().truncated);
    }
    // The error was computed twice, since it isn't stored.
    assert_eq!(service.inner().seen(TEXT, Role::Document), 4);
}

/// Rows of a back end that has become another variant are returned with that variant and never stored.
#[tokio::test]
async fn a_row_of_a_variant_that_the_model_does_not_name_is_not_stored() {
    #[derive(Debug)]
    struct Upgraded(Scripted, Scripted);
    #[embed_core::async_trait]
    impl Embedder for Upgraded {
        fn model(&self) -> &embed_core::ModelInfo {
            self.0.model()
        }
        async fn embed(&self, request: EmbedRequest) -> embed_core::Result<embed_core::EmbedResponse> {
            self.1.embed(request).await
        }
        async fn health(&self) -> embed_core::Health {
            embed_core::Health::ready()
        }
    }
    let tier = MapTier::local("memory");
    let upgraded = Upgraded(Scripted::new("one", 8), Scripted::new("two", 8));
    let service = Cached::new(upgraded, cache(&[&tier]));
    for _ in 0..2 {
        let row = service.encode_document(TEXT).await.unwrap();
        assert_eq!(row.space().model(), "two");
    }
    assert_eq!(tier.len(), 0);
    assert_eq!(service.stats().await.unfit, 2);
}
