//! The outage drill: the real binary on a real Redis and a double of Ollama, under a bounded load that comes as through a
//! balancer that obeys `/readyz`, while what it stands on is paused, killed, filled or exchanged.
//!
//! A test is a scene. It fails if a caller gets a vector that isn't the one that the text had before the outage, or if it
//! isn't well within ten seconds of the end of the cause. `cargo xtask drill` runs the scenes and makes the table of
//! docs/reliability.md from them; what each one does is there, too.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod balancer;
mod drill;
mod gateways;
mod load;
mod ollama;
mod redis;
mod texts;

#[expect(dead_code, reason = "the tests of the gateway use the rest")]
#[path = "../gateway/http.rs"]
mod http;
#[expect(dead_code, reason = "the tests of the gateway use the rest")]
#[path = "../gateway/serving.rs"]
mod serving;
