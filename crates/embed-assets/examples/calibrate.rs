//! `calibrate MODEL`: measures the activations of a model, writes `crates/embed-assets/data/MODEL.smoothing`, makes the 8-bit
//! model with it, and says how far its vectors are from those of f32. `cargo xtask calibrate MODEL` runs it.

#![expect(clippy::print_stdout, reason = "a program talks on standard output")]

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use embed_assets::{Progress, PullOptions, Repacker, Silent, calibrate, pull_model, pull_runtime};
use embed_core::{EmbedRequest, Embedder, Error, ErrorKind, Role, Truncation};
use embed_encoder::assets::DataHome;
use embed_encoder::{Encoder, EncoderConfig, Precision, Profile, RuntimeLibrary};

/// Every ninth article is calibrated on.
const STEP: usize = 9;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let missing = || Error::new(ErrorKind::Config, "name a model: `cargo xtask calibrate all-minilm-l6-v2`");
    let profile = Profile::by_name(&std::env::args().nth(1).ok_or_else(missing)?)?;
    let (home, mut options) = (DataHome::from_env()?, PullOptions::from_env()?);
    options.keep_downloads = true;
    pull_runtime(&home, &options, &Silent).await?;
    pull_model(&home, profile, Precision::F32, &options, &Silent).await?;
    let config = EncoderConfig::default().with_profile(profile).with_precision(Precision::F32);
    let single = Encoder::load(config.clone().with_home(home.clone())).await?;

    let articles = embed_testkit::data::udhr();
    let role = |index: usize| if index.is_multiple_of(2) { Role::Document } else { Role::Query };
    let mut texts = Vec::new();
    for (index, article) in articles.iter().step_by(STEP).enumerate() {
        let mut ids: Vec<u32> =
            single.tokenise(&article.text, role(index))?.iter().map(|token| token.id).collect();
        ids.truncate(profile.max_tokens);
        texts.push(ids);
    }
    println!("measuring {} on {} texts", profile.name, texts.len());
    let smoothing = calibrate(&home, profile, texts, &options, &Printed).await?;
    let table = format!("crates/embed-assets/data/{}.smoothing", profile.name);
    let made_by = "# Made by `cargo xtask calibrate`; README.md in this folder says how.\n";
    std::fs::write(&table, format!("{made_by}{}", smoothing.to_text())).map_err(|error| {
        Error::new(ErrorKind::Config, "the table can't be written")
            .with_context("file", &table)
            .with_source(error)
    })?;
    println!("wrote {table}");

    let scratch = home.root().join("tmp").join("calibrate");
    let other = DataHome::new(&scratch);
    options.repack = Arc::new(Repacker::default().with_smoothing(smoothing));
    let library = RuntimeLibrary::find(&home, None)?;
    options.force = true;
    pull_model(&other, profile, Precision::Int8, &options, &Silent).await?;
    let mut config = config.clone().with_precision(Precision::Int8).with_home(other);
    config.runtime_library = library.path().map(Path::to_owned);
    let eight = Encoder::load(config.with_threads(NonZeroUsize::MIN)).await?;
    for (name, calibrated) in [("calibrated on", true), ("other", false)] {
        let texts: Vec<&str> = articles
            .iter()
            .enumerate()
            .filter(|(index, _)| index.is_multiple_of(STEP) == calibrated)
            .map(|(_, article)| article.text.as_str())
            .collect();
        let (least, mean) = cosines(&single, &eight, &texts).await?;
        println!("int8, {} {name} texts: least cosine {least:.5}, mean {mean:.5}", texts.len());
    }
    let _ = std::fs::remove_dir_all(scratch);
    Ok(())
}

/// The least and the mean cosine between the vectors of two precisions.
async fn cosines(single: &Encoder, eight: &Encoder, texts: &[&str]) -> Result<(f64, f64), Error> {
    let request = EmbedRequest::new(texts.iter().copied(), Role::Document).with_truncation(Truncation::End);
    let (left, right) = (single.embed(request.clone()).await?, eight.embed(request).await?);
    let (mut least, mut sum) = (1.0_f64, 0.0);
    for (left, right) in left.rows().zip(right.rows()) {
        let cosine = left.map_err(Clone::clone)?.similarity(right.map_err(Clone::clone)?)?;
        least = least.min(f64::from(cosine));
        sum += f64::from(cosine);
    }
    Ok((least, sum / texts.len() as f64))
}

/// Prints each message as a line.
#[derive(Debug)]
struct Printed;

impl Progress for Printed {
    fn message(&self, text: &str) {
        println!("{text}");
    }

    fn bytes(&self, _: &str, _: u64, _: Option<u64>) {}

    fn finished(&self, _: &str) {}
}
