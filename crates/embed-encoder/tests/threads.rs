//! What a further thread costs: each number of threads is tried in a process of its own, whose memory is measured.

#![cfg(target_os = "linux")]

use std::num::NonZeroUsize;
use std::process::Command;

use embed_core::{EmbedRequest, Embedder, Role};
use embed_encoder::{Encoder, EncoderConfig};
use embed_testkit::data::mixed_texts;
use embed_testkit::{LARGEST_WITH_4_BITS, resident};

/// The most that a thread takes in addition to what all share.
const LIMIT: u64 = 8_000_000;

/// For the process that is measured: its number of threads.
const THREADS: &str = "EMBED_TEST_THREADS";

#[test]
fn a_further_thread_takes_at_most_8_mb() {
    if let Some(threads) = std::env::var_os(THREADS) {
        let threads = threads.to_str().and_then(|threads| threads.parse().ok()).expect("a number");
        return measure(threads);
    }
    const MODEL: &str = "multilingual-e5-small (int8)";
    let Some(encoder) = embed_testkit::require(MODEL, Encoder::load_blocking(EncoderConfig::default()))
    else {
        return;
    };
    if encoder.memory_bytes() >= LARGEST_WITH_4_BITS {
        return embed_testkit::left_out(MODEL, &"this one is from the hub, and each session maps its words");
    }
    let [few, many] = [2, 6].map(|threads: u64| {
        let program = std::env::current_exe().expect("this program has a path");
        let child = Command::new(program).env(THREADS, threads.to_string()).arg("--nocapture").output();
        let output = child.expect("this program starts");
        let printed = String::from_utf8_lossy(&output.stdout);
        let bytes = printed.lines().find_map(|line| line.strip_suffix(" bytes resident"));
        bytes.and_then(|bytes| bytes.parse::<u64>().ok()).unwrap_or_else(|| panic!("{output:?}"))
    });
    let each = many.saturating_sub(few) / 4;
    assert!(each <= LIMIT, "{each} bytes for each further thread: {few} with two, {many} with six");
}

/// Embeds paragraphs on all threads, and prints the memory that the process has then. After texts of 512 tokens a thread takes up
/// to half a megabyte more.
fn measure(threads: NonZeroUsize) {
    let encoder =
        Encoder::load_blocking(EncoderConfig::default().with_threads(threads)).expect("it was there");
    let paragraphs: Vec<String> =
        mixed_texts(1000).iter().map(|text| text.chars().take(400).collect()).collect();
    for texts in paragraphs.chunks(200) {
        let request = EmbedRequest::new(texts.iter().map(String::as_str), Role::Document);
        futures::executor::block_on(encoder.embed(request)).expect("they have vectors");
    }
    #[expect(clippy::print_stdout, reason = "the process that started this one reads it")]
    {
        println!("\n{} bytes resident", resident());
    }
}
