//! Tests of the crate at its boundary.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod contract;
mod detect;
mod failover;
mod fusion;
mod guard;
mod heals;
mod late;
mod merge;
mod plans;
mod real;
mod rollout;
mod routing;
mod shadow;
mod support;
