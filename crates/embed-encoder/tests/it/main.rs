//! Encoders with their real weights that share workers.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod workers;
