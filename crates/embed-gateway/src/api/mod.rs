//! The dialects: how each one asks, and how it is answered. What they have in common is beside them.

mod dialect;
mod error;
mod fields;
pub(crate) mod native;
pub(crate) mod ollama;
pub(crate) mod openai;
pub(crate) mod tei;
mod wishes;

pub(crate) use dialect::Dialect;
pub(crate) use error::render;
