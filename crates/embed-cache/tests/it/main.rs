//! Tests of the crate at its boundary.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bytes;
mod contract;
mod double;
#[cfg(feature = "redis")]
mod faults;
mod flight;
#[cfg(feature = "memory")]
mod memory;
#[cfg(feature = "memory")]
mod memory_zipf;
mod model;
#[cfg(feature = "memory")]
mod real;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "redis")]
mod redis_deployments;
#[cfg(feature = "redis")]
mod redis_kinds;
#[cfg(feature = "redis")]
mod redis_secrets;
mod removed;
mod tiers;
mod trials;
mod truncation;
mod variants;
