//! Tests of the crate at its boundary.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bytes;
mod contract;
mod double;
mod flight;
#[cfg(feature = "memory")]
mod memory;
#[cfg(feature = "memory")]
mod memory_zipf;
mod model;
mod tiers;
mod variants;
