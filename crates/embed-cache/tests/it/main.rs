//! Tests of the crate at its boundary.

#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "redis")]
mod redis_deployments;
