//! The statistics of an embedder: counters that its threads share.

use std::sync::atomic::{AtomicU64, Ordering};

use embed_core::TokenCount;

use crate::Prompts;

/// The statistics of an embedder since it was loaded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EncoderStats {
    /// Texts embedded.
    pub texts: u64,
    /// Tokens that went through the model.
    pub tokens: u64,
    /// Texts that were cut, as the request allowed.
    pub truncated: u64,
    /// Texts that already began with a prompt of the model, such as `query: `. They are embedded unchanged after the role's
    /// prompt; more than a few mean that a caller still adds prompts.
    pub prefixed_texts: u64,
    /// How often the model was loaded: once at the start, and again by the first call after it was unloaded.
    pub loads: u64,
    /// How often the model was unloaded: by hand, because nobody used it, or to make room for another one.
    pub unloads: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    prompts: Prompts,
    texts: AtomicU64,
    tokens: AtomicU64,
    truncated: AtomicU64,
    prefixed: AtomicU64,
    loads: AtomicU64,
    unloads: AtomicU64,
}

impl Counters {
    /// Counters of a model with these prompts.
    pub(crate) fn new(prompts: Prompts) -> Self {
        Self { prompts, ..Self::default() }
    }

    pub(crate) fn read(&self) -> EncoderStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        EncoderStats {
            texts: read(&self.texts),
            tokens: read(&self.tokens),
            truncated: read(&self.truncated),
            prefixed_texts: read(&self.prefixed),
            loads: read(&self.loads),
            unloads: read(&self.unloads),
        }
    }

    /// Counts a load.
    pub(crate) fn loaded(&self) {
        self.loads.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts that the model was unloaded.
    pub(crate) fn unloaded(&self) {
        self.unloads.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a text that went through the model as this many tokens.
    pub(crate) fn text(&self, text: &str, through_the_model: usize, tokens: TokenCount) {
        self.texts.fetch_add(1, Ordering::Relaxed);
        self.tokens.fetch_add(through_the_model as u64, Ordering::Relaxed);
        self.truncated.fetch_add((tokens.used < tokens.total).into(), Ordering::Relaxed);
        self.prefixed.fetch_add(self.prompts.begin(text).into(), Ordering::Relaxed);
    }
}
