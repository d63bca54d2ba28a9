//! Everything that leaves the process.

pub(crate) mod http;
pub(crate) mod server;
pub(crate) mod wait;
