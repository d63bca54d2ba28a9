#![doc = include_str!("../README.md")]

pub use embed_encoder::{
    Encoder as E5Embedder, EncoderConfig as E5Config, EncoderStats as E5Stats, OLDEST_RUNTIME, Precision,
    Profile, Prompts, RUNTIME_VARIABLE, RuntimeLibrary, SealedLibrary, Shape, Token, Workers, WorkersConfig,
    assets, available_threads, operators, runtime_build,
};

/// The models of the family, multilingual-e5-small first.
pub fn models() -> impl Iterator<Item = &'static Profile> {
    Profile::all().iter().filter(|profile| profile.family == "e5")
}
