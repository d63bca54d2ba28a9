#![doc = include_str!("../README.md")]

pub mod assets;
pub mod operators;

mod config;
mod embedder;
mod engine;
mod pipeline;
mod profile;
mod runtime;
mod session;
mod tokenizer;

pub use config::E5Config;
pub use embedder::{E5Embedder, available_threads};
pub use pipeline::E5Stats;
pub use profile::{Precision, Profile, Shape, prefix};
pub use runtime::{OLDEST_RUNTIME, RUNTIME_VARIABLE, RuntimeLibrary, SealedLibrary, runtime_build};
