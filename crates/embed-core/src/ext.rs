//! What callers want beside the trait.

use async_trait::async_trait;

use crate::{EmbedRequest, EmbedResponse, Embedder, Embedding, Result, Role};

/// Conveniences of every [`Embedder`].
///
/// They embed under [`Truncation::Error`](crate::Truncation::Error): a text that is too long for the model
/// is an error, never a silent cut. Build an [`EmbedRequest`] to choose otherwise.
#[async_trait]
pub trait EmbedderExt: Embedder {
    /// Embeds one text.
    ///
    /// # Errors
    ///
    /// The error of the call, or of the row.
    async fn encode(&self, text: &str, role: Role) -> Result<Embedding> {
        self.embed(EmbedRequest::new([text], role)).await?.into_single()
    }

    /// Embeds one text as a query: something to search with.
    ///
    /// # Errors
    ///
    /// As [`encode`](Self::encode).
    async fn encode_query(&self, text: &str) -> Result<Embedding> {
        self.encode(text, Role::Query).await
    }

    /// Embeds one text as a document: something to be found.
    ///
    /// # Errors
    ///
    /// As [`encode`](Self::encode).
    async fn encode_document(&self, text: &str) -> Result<Embedding> {
        self.encode(text, Role::Document).await
    }

    /// Embeds several texts; the response has a vector for every one of them, in order.
    ///
    /// # Errors
    ///
    /// The error of the call, or the first error among the rows: this is the all-or-nothing form. Call
    /// [`Embedder::embed`] to keep the good rows of a batch with a bad one.
    async fn encode_batch(&self, texts: &[&str], role: Role) -> Result<EmbedResponse> {
        self.embed(EmbedRequest::new(texts.iter().copied(), role)).await?.into_complete()
    }

    /// Numbers in a vector of this service's (default) model.
    fn dimension(&self) -> usize {
        self.model().dimension()
    }
}

impl<E: Embedder + ?Sized> EmbedderExt for E {}
