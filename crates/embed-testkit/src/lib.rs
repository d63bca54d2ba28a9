#![doc = include_str!("../README.md")]

pub mod contract;
pub mod data;
pub mod figures;
pub mod hub;
pub mod ollama;
pub mod openai;
#[cfg(feature = "prometheus")]
pub mod prometheus;
pub mod redis;

mod golden;
mod lock;
mod require;
mod resident;
mod scripted;
mod signal;
mod virtual_time;

pub use golden::golden;
pub use require::{LEFT_OUT_VARIABLE, REQUIRE_VARIABLE, left_out, require};
pub use resident::{LARGEST_WITH_4_BITS, resident};
pub use scripted::Scripted;
pub use signal::signal;
pub use virtual_time::VirtualTime;
