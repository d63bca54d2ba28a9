#![doc = include_str!("../README.md")]

pub use embed_encoder::{
    Encoder as MiniLmEmbedder, EncoderConfig as MiniLmConfig, Precision, Profile, Workers, WorkersConfig,
};

/// The models of the family, all-MiniLM-L6-v2 first.
pub fn models() -> impl Iterator<Item = &'static Profile> {
    Profile::all().iter().filter(|profile| profile.family == "minilm")
}

/// Settings for all-MiniLM-L6-v2 in int8 from the default data folder, on every processor that the process may use.
#[must_use]
pub fn all_minilm() -> MiniLmConfig {
    models()
        .next()
        .map_or_else(MiniLmConfig::default, |profile| MiniLmConfig::default().with_profile(profile))
}
