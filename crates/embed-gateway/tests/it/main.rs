//! Tests of the gateway through its API, over a double of a stack whose vectors are a function of role and text.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod admission;
mod auth;
mod client;
mod contract;
mod double;
mod encodings;
mod ends;
mod fuzz;
mod golden;
mod hosts;
mod limits;
mod logs;
mod native;
mod ollama;
mod openai;
mod openapi;
mod overload;
mod page;
mod shutdown;
mod sockets;
mod tei;
#[cfg(feature = "tls")]
mod tls;
