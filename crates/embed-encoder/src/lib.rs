#![doc = include_str!("../README.md")]

pub mod assets;
pub mod operators;

mod allocator;
mod config;
mod custom;
mod embedder;
mod engine;
mod kernels;
mod precision;
mod preempt;
mod profile;
mod runtime;
mod session;
mod spans;
mod stats;
mod tokenizer;
mod tokens;
mod workers;

pub use config::EncoderConfig;
pub use custom::{CustomModel, CustomSource};
pub use embedder::Encoder;
pub use kernels::{KERNELS_VARIABLE, kernels};
pub use precision::Precision;
pub use profile::{Profile, Prompts, Shape};
pub use runtime::{OLDEST_RUNTIME, RUNTIME_VARIABLE, RuntimeLibrary, SealedLibrary, runtime_build};
pub use stats::EncoderStats;
pub use tokens::Token;
pub use workers::{Workers, WorkersConfig, available_threads};
