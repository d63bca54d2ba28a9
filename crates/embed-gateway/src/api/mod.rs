//! The dialects, each with its requests, answers and errors, and the code that they share.

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
