//! The dialect of Hugging Face's text-embeddings-inference.

mod embed;
mod error;
mod info;
mod similarity;
mod tokens;

pub(crate) use embed::embed;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use embed::parse;
pub(crate) use error::error;
pub(crate) use info::{health, info, other_kind};
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use similarity::parse as parse_similarity;
pub(crate) use similarity::similarity;
pub(crate) use tokens::{decode, tokenize};
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use tokens::{parse_ids, parse_texts};
