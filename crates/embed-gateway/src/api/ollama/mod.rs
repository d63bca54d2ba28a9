//! The dialect of Ollama 0.9.3, with `dimensions` of later versions.

mod embed;
mod error;
mod go;
mod manage;
mod models;

pub(crate) use embed::{embed, embeddings};
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use embed::{parse_embed, parse_embeddings};
pub(crate) use error::error;
pub(crate) use manage::{chat, generate, pull, unmanaged};
pub(crate) use models::{ps, show, tags, version};
