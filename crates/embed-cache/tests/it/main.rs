//! Tests of the crate at its boundary.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

#[cfg(feature = "memory")]
mod memory;
#[cfg(feature = "memory")]
mod memory_zipf;
