#![doc = include_str!("../README.md")]

pub mod contract;
pub mod data;
pub mod figures;
pub mod hub;
pub mod ollama;
#[cfg(feature = "prometheus")]
pub mod prometheus;
pub mod redis;

mod require;
mod scripted;

pub use require::{REQUIRE_VARIABLE, require};
pub use scripted::Scripted;
