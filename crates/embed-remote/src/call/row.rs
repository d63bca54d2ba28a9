//! A row that is done, and its count of tokens.

use embed_core::{Error, ModelInfo, TokenCount, vector};

use crate::backend::Facts;

/// A row that is done.
#[derive(Debug, Clone)]
pub struct Row {
    /// Its vector.
    pub vector: Vec<f32>,
    /// Its tokens, if the server counts them.
    pub tokens: Option<TokenCount>,
    /// Whether the text was cut.
    pub truncated: bool,
    /// What made it.
    pub info: ModelInfo,
}

impl Row {
    /// A row of a vector that the model gave, cut to the dimensions that are asked for.
    pub(super) fn new(
        vector: Vec<f32>,
        tokens: Option<TokenCount>,
        truncated: bool,
        facts: &Facts,
    ) -> Result<Self, Error> {
        let info = facts.info.clone();
        let vector = if info.dimension() < vector.len() {
            vector::truncate_dimensions(&vector, info.dimension())?
        } else {
            vector
        };
        Ok(Self { vector, tokens, truncated, info })
    }
}

pub(super) fn whole(tokens: usize) -> TokenCount {
    TokenCount { used: tokens, total: tokens }
}
