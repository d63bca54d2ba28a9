//! Two models on the same workers, unloaded and loaded again: the vectors are those of an encoder of its own.

use std::num::NonZeroUsize;
use std::thread;
use std::time::Duration;

use embed_core::{EmbedRequest, Embedder, HealthStatus, Role, Truncation};
use embed_encoder::{Encoder, EncoderConfig, Profile, Workers, WorkersConfig};
use embed_testkit::data::mixed_texts;
use futures::executor::block_on;
use futures::future::join;

const MODELS: [&str; 2] = ["multilingual-e5-small", "all-minilm-l6-v2"];
const THREADS: NonZeroUsize = NonZeroUsize::new(2).unwrap();

fn workers(config: WorkersConfig) -> Workers {
    Workers::start(config.with_threads(THREADS)).unwrap()
}

/// Both models in int8, changed by `change`; `None` if one isn't on this machine, which is said aloud.
fn load(change: impl Fn(EncoderConfig) -> EncoderConfig) -> Option<[Encoder; 2]> {
    let load = |name: &str| {
        let config =
            EncoderConfig::default().with_profile(Profile::by_name(name).unwrap()).with_threads(THREADS);
        embed_testkit::require(&format!("{name} (int8)"), Encoder::load_blocking(change(config)))
    };
    Some([load(MODELS[0])?, load(MODELS[1])?])
}

fn request(texts: &[String]) -> EmbedRequest {
    EmbedRequest::new(texts, Role::Document).with_truncation(Truncation::ChunkMean)
}

/// Short texts, and one of several windows.
fn texts() -> Vec<String> {
    let mut texts: Vec<_> = mixed_texts(30).iter().map(|text| text.chars().take(120).collect()).collect();
    texts.push(mixed_texts(12).concat());
    texts
}

/// The vectors of both models at the same time, to the bit.
fn vectors(encoders: &[Encoder; 2], texts: &[String]) -> [Vec<Vec<u32>>; 2] {
    let embed = async |encoder: &Encoder| {
        let response = encoder.embed(request(texts)).await.unwrap().into_complete().unwrap();
        let bits = |vector: &[f32]| vector.iter().map(|value| value.to_bits()).collect();
        response.rows().map(|row| bits(row.unwrap().vector())).collect()
    };
    let (first, second) = block_on(join(embed(&encoders[0]), embed(&encoders[1])));
    [first, second]
}

fn until(mut is_so: impl FnMut() -> bool) {
    while !is_so() {
        thread::yield_now();
    }
}

#[test]
fn vectors_on_shared_workers_equal_those_of_an_encoder_alone_before_and_after_unloading() {
    let texts = texts();
    let Some(alone) = load(|config| config) else { return };
    let expected = vectors(&alone, &texts);
    drop(alone);

    let workers = workers(WorkersConfig::default());
    let shared = load(|config| config.with_workers(&workers)).unwrap();
    assert_eq!((workers.threads(), shared[0].threads()), (2, 2));
    assert!(vectors(&shared, &texts) == expected, "on shared workers");
    for unloaded in [&shared[..1], &shared[1..], &shared[..]] {
        unloaded.iter().for_each(Encoder::unload);
        assert!(unloaded.iter().all(|encoder| !encoder.is_loaded()));
        assert!(block_on(unloaded[0].health()).status() == HealthStatus::Ready, "the next call loads it");
        assert!(vectors(&shared, &texts) == expected, "after unloading");
    }
    for encoder in &shared {
        assert_eq!((encoder.stats().loads, encoder.stats().unloads), (3, 2));
    }

    // One goes, and the other one stays.
    let [first, second] = shared;
    drop((first, workers));
    let alone = block_on(second.embed(request(&texts[..1]))).unwrap().into_single().unwrap();
    assert!(alone.vector().iter().map(|value| value.to_bits()).eq(expected[1][0].iter().copied()));
}

#[test]
fn a_model_is_unloaded_while_nobody_uses_it_and_loaded_by_the_next_call() {
    let workers = workers(WorkersConfig::default());
    let config = |config: EncoderConfig| config.with_workers(&workers).with_keep_alive(Some(Duration::ZERO));
    let Some(encoders) = load(config) else { return };
    let texts = &texts()[..3];
    let first = vectors(&encoders, texts);
    until(|| encoders.iter().all(|encoder| !encoder.is_loaded()));
    assert!(vectors(&encoders, texts) == first);
    assert!(encoders.iter().all(|encoder| encoder.stats().loads >= 2));
}

#[test]
fn a_budget_for_one_model_keeps_the_one_that_was_used_last() {
    let workers = workers(WorkersConfig::default().with_memory_budget(90_000_000));
    let Some(encoders) = load(|config| config.with_workers(&workers)) else { return };
    let loaded = || encoders.each_ref().map(Encoder::is_loaded);
    assert!(encoders[0].memory_bytes() < 90_000_000);
    assert!(encoders.iter().map(Encoder::memory_bytes).sum::<u64>() > 90_000_000);
    assert_eq!(loaded(), [false, true]);
    for used in [0, 1] {
        block_on(encoders[used].embed(request(&texts()[..1]))).unwrap().into_single().unwrap();
        until(|| loaded() == [used == 0, used == 1]);
    }
}
