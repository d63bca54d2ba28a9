//! The real servers: every vector is that of its text, alone or in a crowd.

use embed_core::{EmbedRequest, Embedder, EmbedderExt, ErrorKind, Role, Truncation, vector};
use embed_ollama::{OllamaConfig, OllamaEmbedder};
use embed_testkit::contract;
use embed_testkit::ollama::rig;
use futures::future::join_all;
use std::sync::Arc;

use crate::{connect, request};

pub(crate) const REAL: [&str; 2] = ["0.5.4", "0.9.3"];

/// Short texts of all kinds, so that the slow one of the servers is done in a minute.
fn short_texts(count: usize) -> Vec<String> {
    let words = ["river", "mountain", "query", "recipe", "engine", "garden", "letter", "window", "planet"];
    (0..count).map(|i| format!("{} {} {i}", words[i % 9], words[(i / 9) % 9])).collect()
}

/// Every vector of a batch and of a crowd against the one that the server itself gives for the text alone.
async fn alone_or_in_a_crowd(client: &OllamaEmbedder, texts: &[String], tasks: usize) -> Result<f32, String> {
    let mut alone = Vec::with_capacity(texts.len());
    for text in texts {
        alone.push(client.encode_document(text).await.map_err(|error| error.to_string())?);
    }
    let mut worst = 1.0_f32;
    let mut compare = |index: usize, is: &[f32]| {
        let cosine = vector::cosine(is, alone[index].vector()).unwrap();
        worst = worst.min(cosine);
        (cosine >= 0.9999).then_some(()).ok_or_else(|| format!("text {index}: cosine {cosine}"))
    };
    let batch = client.embed(request(texts)).await.map_err(|error| error.to_string())?;
    for (index, row) in batch.rows().enumerate() {
        compare(index, row.map_err(ToString::to_string)?.vector())?;
    }
    let share = texts.len() / tasks;
    let crowd = (0..tasks).map(|task| async move {
        let part = &texts[task * share..(task + 1) * share];
        (task * share, client.embed(request(part)).await)
    });
    for (start, response) in join_all(crowd).await {
        let response = response.map_err(|error| error.to_string())?;
        for (row, index) in response.rows().zip(start..) {
            compare(index, row.map_err(ToString::to_string)?.vector())?;
        }
    }
    Ok(worst)
}

#[tokio::test]
async fn every_vector_is_the_one_of_its_text_alone() {
    for version in REAL {
        let Some(server) = rig::require(version) else {
            continue;
        };
        let client = connect(OllamaConfig::new("all-minilm", server.url())).await;
        let worst = alone_or_in_a_crowd(&client, &short_texts(200), 16).await.unwrap();
        println!("{version}: 200 texts alone, in a batch and in 16 tasks; lowest cosine {worst}");
    }
}

/// The same test fails against a server that shuffles.
#[tokio::test]
async fn the_same_test_fails_against_a_shuffling_server() {
    let double = embed_testkit::ollama::OllamaDouble::start("0.9.3").await;
    let client = connect(OllamaConfig::new("all-minilm", double.url())).await;
    assert!(alone_or_in_a_crowd(&client, &short_texts(200), 16).await.is_ok());
    double.change(|script| script.shuffle = true);
    let failed = alone_or_in_a_crowd(&client, &short_texts(200), 16).await;
    assert!(failed.unwrap_err().contains("cosine"));
}

#[tokio::test]
async fn meaning_is_there() {
    for version in REAL {
        let Some(server) = rig::require(version) else {
            continue;
        };
        let client = connect(OllamaConfig::new("all-minilm", server.url())).await;
        let texts = ["database query optimization", "optimize database queries", "cooking recipes"];
        let rows = client.encode_batch(&texts, Role::Query).await.unwrap();
        let similarity = |other| rows.row(0).unwrap().similarity(rows.row(other).unwrap()).unwrap();
        assert!(similarity(1) > 0.7, "{}", similarity(1));
        assert!(similarity(2) < 0.3, "{}", similarity(2));
        for row in rows.rows() {
            let row = row.unwrap();
            assert_eq!(row.vector().len(), 384);
            assert!((vector::norm(row.vector()) - 1.0).abs() < 1e-5);
        }
        println!("{version}: {:.3} to the same, {:.3} to another subject", similarity(1), similarity(2));
    }
}

/// Both versions at once: the probe set finds that they give the same numbers.
#[tokio::test]
async fn two_versions_may_serve_one_client() {
    let mut urls = Vec::new();
    let mut servers = Vec::new();
    for version in REAL {
        let Some(server) = rig::require(version) else {
            return;
        };
        urls.push(server.url().to_owned());
        servers.push(server);
    }
    let client = connect(OllamaConfig::default().with_servers(urls)).await;
    let response = client.embed(request(&short_texts(40))).await.unwrap();
    assert_eq!(response.errors().count(), 0);
}

#[tokio::test]
async fn the_real_servers_keep_the_contract() {
    for version in REAL {
        let Some(server) = rig::require(version) else {
            continue;
        };
        let client = connect(OllamaConfig::new("all-minilm", server.url())).await;
        contract::check(Arc::new(client)).await;
    }
}

#[tokio::test]
async fn texts_around_the_limit_are_whole_or_an_error() {
    for version in REAL {
        let Some(server) = rig::require(version) else {
            continue;
        };
        let client = connect(OllamaConfig::new("all-minilm", server.url())).await;
        let limit = client.model().max_tokens().unwrap();
        for extra in [-3_isize, -2, -1, 0, 5] {
            // Each word is one token.
            let words = limit.checked_add_signed(extra).unwrap();
            let text = vec!["water"; words].join(" ");
            let response = client.embed(request(&[text])).await.unwrap();
            match response.row(0) {
                Ok(row) => {
                    assert!(words + 2 <= limit, "{version}: {words} words were cut in silence");
                    assert_eq!(row.info().tokens.unwrap().used, words + 2, "{version}");
                }
                Err(error) => {
                    assert!(words + 2 > limit, "{version}: {words} words fit: {error}");
                    assert_eq!(error.kind(), ErrorKind::InputTooLong);
                }
            }
        }
        let long = "freedom and dignity ".repeat(400);
        for policy in [Truncation::End, Truncation::Start, Truncation::ChunkMean] {
            let request = EmbedRequest::new([long.as_str()], Role::Document).with_truncation(policy);
            let response = client.embed(request).await.unwrap();
            let tokens = response.row(0).unwrap().info().tokens.unwrap();
            println!("{version}, {policy}: {} of {} tokens", tokens.used, tokens.total);
        }
    }
}
