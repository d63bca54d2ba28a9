//! The graphs against the network as it is defined: both families, both poolings, raw and normalised.

#![expect(clippy::unwrap_used, reason = "a test may die of what it doesn't expect")]

mod common;

use std::sync::Arc;

use common::tiny::{Tiny, WORDS, tokenizer};
use common::{Ears, Home, options};
use embed_assets::{Repacker, pull_model};
use embed_core::{Normalisation, Pooling};
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
    hub.put(profile.repository, profile.revision, "config.json", tiny.config());
    hub.put(profile.repository, profile.revision, "tokenizer.json", tokenizer());
    hub.put_large(profile.repository, profile.revision, "model.safetensors", tiny.weights(7));
    let mut options = options(hub.endpoint());
    options.repack = Arc::new(Repacker::default());
    options.fetch_runtime = false;
    pull_model(&home.home, profile, precision, &options, &Ears::default()).await.unwrap();
    let config = EncoderConfig::default().with_profile(profile).with_precision(precision);
    let encoder = Encoder::load(config.with_home(home.home.clone())).await.unwrap();

    tiny.agrees(&encoder, profile, 7, &TEXTS, least).await;
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
