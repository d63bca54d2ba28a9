//! Everything that leaves the process.

pub(crate) mod http;
pub(crate) mod server;
mod tls;
pub(crate) mod wait;
