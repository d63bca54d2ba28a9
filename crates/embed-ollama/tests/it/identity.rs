//! Who a server is: proven by vectors, at the start, after reconnects and between runs.

use std::time::Duration;

use embed_core::{Embedder, EmbedderExt, ErrorKind};
use embed_ollama::{Identity, OllamaConfig, OllamaEmbedder, Upgrade};
use embed_testkit::ollama::OllamaDouble;

use crate::{VERSIONS, config, connect, quick};

#[tokio::test]
async fn the_dimension_is_learnt_and_the_variant_names_digest_and_version() {
    let double = OllamaDouble::start("0.9.3").await;
    double.change(|script| script.dimension = 97);
    let client = connect(config(&double)).await;
    assert_eq!(client.dimension(), 97);
    assert_eq!(
        client.model().variant().id(),
        "all-minilm/mean/plain/l2/97;digest=1b226e2802dbb772;server=0.9.3;context=512"
    );
    let status = &client.servers()[0];
    assert_eq!((status.version.as_deref(), status.batches), (Some("0.9.3"), true));
}

#[tokio::test]
async fn the_version_is_read_once() {
    let double = OllamaDouble::start("0.9.3").await;
    let client = connect(config(&double)).await;
    for i in 0..20 {
        client.encode_query(&format!("text {i}")).await.unwrap();
    }
    assert_eq!(double.requests_for("/api/version").len(), 1);
    assert_eq!(client.stats().requests, 20);
}

#[tokio::test]
async fn a_restart_as_the_same_server_needs_no_proof() {
    let double = OllamaDouble::start("0.9.3").await;
    let port = double.port();
    let client = connect(quick(&double)).await;
    client.encode_query("a text").await.unwrap();
    drop(double);
    let double = OllamaDouble::start_at("0.9.3", port).await;
    client.encode_query("a text").await.unwrap();
    assert_eq!(double.requests_for("/api/version").len(), 1);
    assert_eq!(client.stats().identity_checks, 1);
}

#[tokio::test]
async fn an_upgrade_that_moves_nothing_stays_the_variant_and_gets_the_new_profile() {
    let double = OllamaDouble::start("0.5.4").await;
    let port = double.port();
    let client = connect(quick(&double)).await;
    let old = client.encode_query("a text").await.unwrap();
    drop(double);
    let double = OllamaDouble::start_at("0.12.11", port).await;
    double.change(|script| script.digest = "ab".repeat(32));
    let new = client.encode_query("a text").await.unwrap();
    assert_eq!(old.info().model.variant(), new.info().model.variant());
    assert!(client.servers()[0].batches);
    assert_eq!(client.stats().identity_checks, 2);
}

#[tokio::test]
async fn an_upgrade_that_moves_vectors_is_refused() {
    let double = OllamaDouble::start("0.9.3").await;
    let port = double.port();
    let client = connect(quick(&double)).await;
    client.encode_query("a text").await.unwrap();
    drop(double);
    let double = OllamaDouble::start_at("0.12.11", port).await;
    double.change(|script| script.drift = 0.1);
    let error = client.encode_query("a text").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SpaceMismatch, "{error:?}");
    assert!(error.to_string().contains("0.9.3") && error.to_string().contains("0.12.11"), "{error}");
    // What comes back as it was is taken again.
    double.change(|script| script.drift = 0.0);
    for _ in 0..100 {
        if client.encode_query("a text").await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it was never taken again");
}

#[tokio::test]
async fn an_upgrade_may_become_a_new_variant_but_another_model_never() {
    let double = OllamaDouble::start("0.9.3").await;
    let port = double.port();
    let mut config = quick(&double);
    config.upgrade = Upgrade::NewVariant;
    let client = connect(config).await;
    let old = client.encode_query("a text").await.unwrap();
    drop(double);
    let double = OllamaDouble::start_at("0.12.11", port).await;
    double.change(|script| script.drift = 0.1);
    let new = client.encode_query("a text").await.unwrap();
    assert_ne!(old.info().model.variant(), new.info().model.variant());
    assert!(old.similarity(&new).unwrap() > 0.97, "the space stays");
    drop(double);
    let double = OllamaDouble::start_at("0.13.5", port).await;
    double.change(|script| script.drift = 3.0);
    let error = client.encode_query("a text").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SpaceMismatch);
    assert!(error.to_string().contains("another model"), "{error}");
}

#[tokio::test]
async fn an_identity_of_an_earlier_run_is_expected() {
    let double = OllamaDouble::start("0.9.3").await;
    let first = connect(config(&double)).await;
    let kept = serde_json::to_string(&first.identity().unwrap()).unwrap();
    let kept: Identity = serde_json::from_str(&kept).unwrap();

    // Another name and digest, the same vectors: the same variant.
    let alias = OllamaDouble::start("0.12.11").await;
    alias.change(|script| {
        script.model = "my-alias:v2".into();
        script.digest = "cd".repeat(32);
    });
    let with = |kept: &Identity| OllamaConfig::new("my-alias:v2", alias.url()).with_expected(kept.clone());
    let second = connect(with(&kept)).await;
    assert_eq!(first.model().variant(), second.model().variant());

    alias.change(|script| script.drift = 0.1);
    let error = OllamaEmbedder::connect(with(&kept)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SpaceMismatch);
}

#[tokio::test]
async fn names_mean_the_same_model() {
    let double = OllamaDouble::start("0.9.3").await;
    let mut variants = Vec::new();
    for name in ["all-minilm", "all-minilm:latest", "library/all-minilm", "All-MiniLM"] {
        let client = connect(OllamaConfig::new(name, double.url())).await;
        variants.push(client.model().variant().clone());
    }
    assert!(variants.iter().all(|variant| *variant == variants[0]));
}

#[tokio::test]
async fn vectors_are_cut_to_the_dimensions_asked_on_every_version() {
    for version in VERSIONS {
        let double = OllamaDouble::start(version).await;
        let mut config = config(&double);
        config.dimensions = Some(64);
        let client = connect(config).await;
        assert_eq!(client.dimension(), 64);
        let text = client.encode_query("a text").await.unwrap();
        let expected = embed_core::vector::truncate_dimensions(&double.vector_of("a text"), 64).unwrap();
        assert!(embed_core::vector::cosine(text.vector(), &expected).unwrap() > 0.9999);
    }
}

#[tokio::test]
async fn an_unknown_newer_version_is_the_newest_known_with_a_warning() {
    let double = OllamaDouble::start("0.99.0").await;
    let client = connect(config(&double)).await;
    assert_eq!(client.stats().unknown_versions, 1);
    assert_eq!(client.servers()[0].profile, Some(embed_ollama::Profile::J));
}
