//! The suites.

pub(crate) mod detect;
pub(crate) mod e5;
pub(crate) mod ollama;
mod peaks;
pub(crate) mod python;
pub(crate) mod redis;
pub(crate) mod start;
