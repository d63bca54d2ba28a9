//! `embed serve` as those meet it who call it: the official clients, a browser, a real Ollama beside it, a fuzzer, and
//! the signals that end it or what it stands on.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod absent;
mod clients;
mod english;
mod exchange;
mod hangups;
mod http;
mod metrics;
mod ollama;
mod openapi;
mod outage;
mod overload;
mod page;
mod remote;
mod serving;
mod shutdown;
#[cfg(unix)]
mod signals;
mod tools;
mod traces;
mod unread;
