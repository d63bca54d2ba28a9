//! A row that is done, and its count of tokens.

use embed_core::{Error, ModelInfo, TokenCount, vector};

use crate::profile::Counting;
use crate::transport::server::Session;

/// A row that is done.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) vector: Vec<f32>,
    pub(crate) tokens: Option<TokenCount>,
    pub(crate) truncated: bool,
    pub(crate) info: ModelInfo,
}

impl Row {
    /// A row of a vector that the model gave, cut to the dimensions that are asked for.
    pub(super) fn new(
        vector: Vec<f32>,
        tokens: Option<TokenCount>,
        truncated: bool,
        session: &Session,
    ) -> Result<Self, Error> {
        let info = session.info.clone();
        let vector = if info.dimension() < vector.len() {
            vector::truncate_dimensions(&vector, info.dimension())?
        } else {
            vector
        };
        Ok(Self { vector, tokens, truncated, info })
    }
}

/// Tokens with the special ones, out of what the server counts. No text has none: a server that says 0 didn't count.
pub(super) fn count(session: &Session, tokens: usize) -> Option<usize> {
    if tokens == 0 {
        return None;
    }
    match session.dialect.traits.counting {
        Counting::Unknown => None,
        Counting::TextOnly => Some(tokens + session.specials),
        Counting::WithSpecials => Some(tokens),
    }
}

pub(super) fn whole(tokens: usize) -> TokenCount {
    TokenCount { used: tokens, total: tokens }
}
