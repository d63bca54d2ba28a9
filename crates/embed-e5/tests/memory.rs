//! Memory stays bounded: a process of its own, because it measures the whole process.

#![cfg(target_os = "linux")]

use std::num::NonZeroUsize;

use embed_core::{EmbedRequest, Embedder, Role, Truncation};
use embed_e5::assets::{DataHome, ModelFiles};
use embed_e5::{E5Config, E5Embedder, Precision, Profile};
use embed_testkit::data::mixed_texts;
use embed_testkit::{LARGEST_WITH_4_BITS, resident};

/// The most that a process with two threads takes if the word table is in 4 bits, as from the wheel.
const LIMIT: u64 = 130_000_000;

/// Twenty thousand texts, two hundred of them of 512 tokens: bounded, and no more at the end than in the middle.
#[tokio::test]
async fn twenty_thousand_texts_take_no_more_memory_than_ten_thousand() {
    let home = DataHome::from_env().expect("there is a data folder");
    let files = ModelFiles::open(&home, &Profile::all()[0], Precision::Int8);
    let Some(files) = embed_testkit::require("multilingual-e5-small (int8)", files) else {
        return;
    };
    let config = E5Config::default().with_threads(NonZeroUsize::new(2).expect("not 0"));
    let e5 = E5Embedder::load(config).await.expect("the model loads");
    let articles: Vec<_> = mixed_texts(1000);
    let long = articles.join("\n").chars().take(20_000).collect::<String>();

    let mut in_the_middle = 0;
    for batch in 0..200 {
        let short = |n: usize| format!("{batch} {n} {}", first_words(&articles[(batch * 99 + n) % 1000]));
        let mut texts: Vec<_> = (0..99).map(short).collect();
        texts.push(format!("{batch} {long}"));
        let request = EmbedRequest::new(texts, Role::Document).with_truncation(Truncation::End);
        let rows = e5.embed(request).await.and_then(|rows| rows.into_complete()).expect("every row is good");
        let cut = rows.rows().flatten().filter(|row| row.info().truncated).count();
        assert_eq!(cut, 1, "one text of each batch is longer than 512 tokens");
        if batch == 99 {
            in_the_middle = resident();
        }
    }
    let at_the_end = resident();
    let is_small = files.model_bytes < LARGEST_WITH_4_BITS;
    let limit = if is_small { LIMIT } else { 2 * files.model_bytes + 300_000_000 };
    assert!(at_the_end < limit, "{at_the_end} bytes resident, {limit} allowed");
    assert!(
        at_the_end <= in_the_middle + in_the_middle / 20,
        "grew from {in_the_middle} to {at_the_end} bytes"
    );
}

/// A dozen tokens or so in any script.
fn first_words(text: &str) -> String {
    text.chars().take(40).collect()
}
