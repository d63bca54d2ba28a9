//! The vectors of sentence-transformers, and those of real Ollama servers.

use embed_core::{EmbedRequest, Embedder, Role, Truncation, vector};
use embed_minilm::Precision;
use embed_ollama::{OllamaConfig, OllamaEmbedder};
use embed_testkit::ollama::rig;
use serde::Deserialize;

use crate::{LEAST_IN_INT8, model};

/// A row of `data/README.md`.
#[derive(Deserialize)]
struct ReferenceRow {
    text: String,
    embedding: Vec<f32>,
}

fn reference() -> Vec<ReferenceRow> {
    let lines = include_str!("../data/reference.jsonl").lines();
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn is_near(precision: Precision, least: f32) {
    let Some(model) = model(precision) else { return };
    let rows = reference();
    let texts = rows.iter().map(|row| row.text.as_str());
    let request = EmbedRequest::new(texts, Role::Document).with_truncation(Truncation::End);
    let response = model.embed(request).await.unwrap();
    for (expected, row) in rows.iter().zip(response.rows()) {
        let cosine = vector::cosine(row.unwrap().vector(), &expected.embedding).unwrap();
        assert!(cosine >= least, "{precision}: {cosine} for {:?}", expected.text);
    }
}

#[tokio::test]
async fn f32_is_what_sentence_transformers_gives() {
    is_near(Precision::F32, 0.99999).await;
}

#[tokio::test]
async fn int8_is_near_it() {
    is_near(Precision::Int8, LEAST_IN_INT8).await;
}

/// Accents and case make no difference, composed or not, as in the training.
#[tokio::test]
async fn accents_make_no_difference() {
    let Some(model) = model(Precision::F32) else { return };
    let texts = ["Hokkaidō", "Hokkaido", "hokkaido\u{304}", "HOKKAIDO"];
    let response = model.embed(EmbedRequest::new(texts, Role::Query)).await.unwrap();
    let first = response.row(0).unwrap().vector().to_vec();
    for row in response.rows() {
        assert_eq!(row.unwrap().vector(), first);
    }
}

/// Real servers with the same weights in 16 bits: one space, by name and by numbers.
#[tokio::test]
async fn ollama_has_the_same_space() {
    let texts = [
        "how deep is the lake",
        "The committee adopted the resolution by 12 votes to 3, with 2 abstentions, on 14 May 1998.",
        "error: could not open file /etc/hosts (permission denied)",
        "Add an index before you add hardware.",
    ];
    for version in ["0.5.4", "0.9.3"] {
        let Some(server) = rig::require(version) else { continue };
        let config = OllamaConfig::default().with_servers([server.url()]);
        let ollama = OllamaEmbedder::connect(config).await.unwrap();
        let theirs = ollama.embed(EmbedRequest::new(texts, Role::Document)).await.unwrap();
        for (precision, least) in [(Precision::F32, 0.9999), (Precision::Int8, LEAST_IN_INT8)] {
            let Some(model) = model(precision) else { continue };
            assert_eq!(model.model().space(), ollama.model().space());
            assert_ne!(model.model().variant(), ollama.model().variant());
            let ours = model.embed(EmbedRequest::new(texts, Role::Document)).await.unwrap();
            for (theirs, ours) in theirs.rows().zip(ours.rows()) {
                let cosine = theirs.unwrap().similarity(ours.unwrap()).unwrap();
                assert!(cosine >= least, "{version}, {precision}: {cosine}");
            }
        }
    }
}
