//! The graphs against the network as it is defined: both families, both poolings, raw and normalised.

#![expect(clippy::unwrap_used, reason = "a test may die of what it doesn't expect")]

mod common;

use std::sync::Arc;

use common::tiny::{Tiny, WORDS, tokenizer};
use common::{Ears, Home, options};
use embed_assets::weights::safetensors;
use embed_assets::{Forward, Repacker, pull_model};
use embed_core::{EmbedRequest, Embedder, Normalisation, Pooling, Role, vector};
use embed_encoder::{Encoder, EncoderConfig, Precision, Profile, Shape};
use embed_testkit::hub::HubDouble;

const BERT: Tiny = Tiny { kind: "bert", layers: 3, heads: 4, hidden: 128, wide: 96, positions: 40 };
/// Positions begin behind that of padding, so that the table has one row more.
const XLMR: Tiny = Tiny { kind: "xlm-roberta", positions: 41, ..BERT };

const SHAPE: Shape = Shape::new(3, 4, 96).with_vocabulary(WORDS.len()).with_positions(40);
const MODEL: Profile = Profile::custom("tiny", 128, SHAPE)
    .with_source("a/tiny", "0123456789012345678901234567890123456789")
    .with_max_tokens(40);

static MEAN: Profile = MODEL;
static CLS: Profile = MODEL.with_pooling(Pooling::Cls).with_prompts("query: ", "");
static RAW: Profile = MODEL.with_normalisation(Normalisation::None).with_pooling(Pooling::Cls);

const TEXTS: [&str; 4] = [
    "the quick brown fox",
    "a",
    "Dog fox dog",
    "word word word word word word word b the quick brown fox a dog",
];

/// Makes the model of a tiny network, embeds the texts in one request, and compares each row.
async fn agrees(tiny: Tiny, profile: &'static Profile, precision: Precision, least: f64) {
    let Some(home) = Home::new().with_runtime() else { return };
    let hub = HubDouble::start().await;
    let bytes = tiny.weights(7);
    hub.put(profile.repository, profile.revision, "config.json", tiny.config());
    hub.put(profile.repository, profile.revision, "tokenizer.json", tokenizer());
    hub.put_large(profile.repository, profile.revision, "model.safetensors", bytes.clone());
    let mut options = options(hub.endpoint());
    options.repack = Arc::new(Repacker::default());
    options.fetch_runtime = false;
    pull_model(&home.home, profile, precision, &options, &Ears::default()).await.unwrap();
    let config = EncoderConfig::default().with_profile(profile).with_precision(precision);
    let encoder = Encoder::load(config.with_home(home.home.clone())).await.unwrap();

    let config = safetensors::Config::parse(tiny.config().as_bytes()).unwrap();
    let weights = safetensors::parse(bytes, &config).unwrap();
    let network = Forward::new(&weights);
    for role in [Role::Query, Role::Document] {
        let response = encoder.embed(EmbedRequest::new(TEXTS, role)).await.unwrap();
        for (text, row) in TEXTS.iter().zip(response.rows()) {
            let row = row.unwrap();
            let ids: Vec<u32> = encoder.tokenise(text, role).unwrap().iter().map(|token| token.id).collect();
            let states = network.states(&ids);
            let mut expected = states[..128].to_vec();
            if profile.pooling == Pooling::Mean {
                for (channel, value) in expected.iter_mut().enumerate() {
                    *value =
                        states.chunks_exact(128).map(|state| state[channel]).sum::<f32>() / ids.len() as f32;
                }
            }
            let cosine = f64::from(vector::cosine(row.vector(), &expected).unwrap());
            assert!(cosine >= least, "{} {precision} {text:?}: {cosine}", tiny.kind);
            let norm = |values: &[f32]| values.iter().map(|value| value * value).sum::<f32>().sqrt();
            let expected = if profile.normalisation == Normalisation::L2 { 1.0 } else { norm(&expected) };
            let ratio = norm(row.vector()) / expected;
            assert!((f64::from(ratio) - 1.0).abs() < 1.01 - least, "{ratio}");
        }
    }
}

#[tokio::test]
async fn bert_with_the_mean() {
    agrees(BERT, &MEAN, Precision::F32, 0.999_999).await;
    agrees(BERT, &MEAN, Precision::Int8, 0.998).await;
}

#[tokio::test]
async fn bert_with_the_first_token_and_a_prompt() {
    agrees(BERT, &CLS, Precision::F32, 0.999_999).await;
    agrees(BERT, &CLS, Precision::Int8, 0.998).await;
}

#[tokio::test]
async fn roberta_counts_positions_from_another_number() {
    agrees(XLMR, &MEAN, Precision::F32, 0.999_999).await;
    agrees(XLMR, &RAW, Precision::F32, 0.999_999).await;
}
