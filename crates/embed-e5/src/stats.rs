//! The statistics of an embedder: counters that its threads share.

use std::sync::atomic::{AtomicU64, Ordering};

use embed_core::TokenCount;

/// The statistics of an embedder since it was loaded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct E5Stats {
    /// Texts embedded.
    pub texts: u64,
    /// Tokens that went through the model.
    pub tokens: u64,
    /// Texts that were cut, as the request allowed.
    pub truncated: u64,
    /// Texts that already began with `query: ` or `passage: `. They are embedded unchanged after the role's prefix; more than
    /// a few mean that a caller still adds prefixes.
    pub prefixed_texts: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    texts: AtomicU64,
    tokens: AtomicU64,
    truncated: AtomicU64,
    prefixed: AtomicU64,
}

impl Counters {
    pub(crate) fn read(&self) -> E5Stats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        E5Stats {
            texts: read(&self.texts),
            tokens: read(&self.tokens),
            truncated: read(&self.truncated),
            prefixed_texts: read(&self.prefixed),
        }
    }

    /// Counts a text that went through the model as this many tokens.
    pub(crate) fn text(&self, through_the_model: usize, tokens: TokenCount, prefixed: bool) {
        self.texts.fetch_add(1, Ordering::Relaxed);
        self.tokens.fetch_add(through_the_model as u64, Ordering::Relaxed);
        self.truncated.fetch_add((tokens.used < tokens.total).into(), Ordering::Relaxed);
        self.prefixed.fetch_add(prefixed.into(), Ordering::Relaxed);
    }
}
