//! Everything that leaves the process.

pub(crate) mod breaker;
pub(crate) mod http;
pub(crate) mod server;
pub(crate) mod wait;
