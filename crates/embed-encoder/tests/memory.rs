//! Memory of models that are loaded: a process of its own, because it measures the whole process.

#![cfg(target_os = "linux")]

use std::num::NonZeroUsize;

use embed_core::EmbedderExt;
use embed_encoder::{Encoder, EncoderConfig};
use embed_testkit::resident;

/// Nine sessions pack the weights once, and what an unloaded model had is there for the next load.
#[test]
fn sessions_share_their_weights_and_loading_again_takes_no_further_memory() {
    let config = EncoderConfig::default().with_threads(NonZeroUsize::new(8).expect("not 0"));
    let loaded = Encoder::load_blocking(config);
    let Some(encoder) = embed_testkit::require("multilingual-e5-small (int8)", loaded) else {
        return;
    };
    let embed = || futures::executor::block_on(encoder.encode_query("a text")).expect("it has a vector");
    let first = embed();
    // Packed for each session, the weights would take 190 MB.
    let limit = encoder.memory_bytes() + 70_000_000;
    let loaded = resident();
    assert!(loaded < limit, "{loaded} bytes resident, {limit} allowed");

    encoder.unload();
    let unloaded = resident();
    assert!(unloaded + 40_000_000 < loaded, "{unloaded} bytes resident after unloading, {loaded} before");
    embed();

    let mut after_two = 0;
    for cycle in 1..=10 {
        encoder.unload();
        assert_eq!(embed().vector(), first.vector());
        if cycle == 2 {
            after_two = resident();
        }
    }
    let at_the_end = resident();
    assert!(at_the_end <= after_two + after_two / 5, "grew from {after_two} to {at_the_end} bytes");
}
