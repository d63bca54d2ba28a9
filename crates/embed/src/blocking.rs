//! Models for programs without an async runtime.
//!
//! ```no_run
//! let model = embed::blocking::load("multilingual-e5-small")?;
//! let vector = model.encode_query("how high is Mount Fuji")?;
//! # Ok::<(), embed::Error>(())
//! ```
//!
//! A call takes the calling thread until it has its result; the work is done by the threads of the model, so this works on
//! every thread, also on one of an async runtime. There it keeps the other tasks of that thread waiting: use
//! [`load`](crate::load) there, or a thread for blocking work.

#[cfg(feature = "settings")]
pub mod stack;

use embed_core::{EmbedRequest, EmbedResponse, Embedder, EmbedderExt, Embedding, ModelInfo, Result, Role};
use embed_encoder::Encoder;
use pollster::block_on;

use crate::ModelBuilder;

/// A model, loaded and ready. Its methods are those of [`Embedder`] and [`EmbedderExt`], with the same results to the bit.
///
/// Threads share it by reference or as an `Arc`; their texts share runs of the model.
#[derive(Debug)]
pub struct Model(Encoder);

/// As [`load`](crate::load). For other settings than the defaults it takes a [`ModelBuilder`].
///
/// # Errors
///
/// As [`ModelBuilder::load`].
pub fn load(model: impl Into<ModelBuilder>) -> Result<Model> {
    block_on(model.into().load()).map(Model)
}

impl Model {
    /// Embeds every text of the request: [`Embedder::embed`].
    ///
    /// # Errors
    ///
    /// The error of the call; each row has its own.
    pub fn embed(&self, request: EmbedRequest) -> Result<EmbedResponse> {
        block_on(self.0.embed(request))
    }

    /// Embeds one text.
    ///
    /// # Errors
    ///
    /// The error of the call, or of the row.
    pub fn encode(&self, text: &str, role: Role) -> Result<Embedding> {
        block_on(self.0.encode(text, role))
    }

    /// Embeds one text as a query, to search with.
    ///
    /// # Errors
    ///
    /// As [`encode`](Self::encode).
    pub fn encode_query(&self, text: &str) -> Result<Embedding> {
        self.encode(text, Role::Query)
    }

    /// Embeds one text as a document, to be found.
    ///
    /// # Errors
    ///
    /// As [`encode`](Self::encode).
    pub fn encode_document(&self, text: &str) -> Result<Embedding> {
        self.encode(text, Role::Document)
    }

    /// Embeds several texts, all or nothing; the response has a vector for each of them, in order.
    ///
    /// # Errors
    ///
    /// The error of the call, or the first error among the rows.
    pub fn encode_batch<T: AsRef<str> + Sync>(&self, texts: &[T], role: Role) -> Result<EmbedResponse> {
        block_on(self.0.encode_batch(texts, role))
    }

    /// What it is, and with it the space of its vectors.
    #[must_use]
    pub fn model(&self) -> &ModelInfo {
        self.0.model()
    }

    /// The encoder, with its async methods and statistics.
    #[must_use]
    pub fn encoder(&self) -> &Encoder {
        &self.0
    }
}

/// An encoder that was loaded by other means.
impl From<Encoder> for Model {
    fn from(encoder: Encoder) -> Self {
        Self(encoder)
    }
}
