#![doc = include_str!("../README.md")]

pub mod assets;
pub mod operators;

mod config;
mod embedder;
mod engine;
mod preempt;
mod profile;
mod runtime;
mod session;
mod spans;
mod stats;
mod tokenizer;
mod tokens;

pub use config::E5Config;
pub use embedder::{E5Embedder, available_threads};
pub use profile::{Precision, Profile, Shape, prefix};
pub use runtime::{OLDEST_RUNTIME, RUNTIME_VARIABLE, RuntimeLibrary, SealedLibrary, runtime_build};
pub use stats::E5Stats;
pub use tokens::Token;
