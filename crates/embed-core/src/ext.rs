//! Conveniences for callers of an [`Embedder`].

use async_trait::async_trait;

use crate::{EmbedRequest, EmbedResponse, Embedder, Embedding, Result, Role};

/// Conveniences for callers of every [`Embedder`], including `dyn Embedder`.
///
/// They use [`Truncation::Error`](crate::Truncation::Error): a text that is too long for the model is an error and
/// never silently cut. For another policy build an [`EmbedRequest`].
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

    /// Embeds one text as a query, to search with.
    ///
    /// # Errors
    ///
    /// As [`encode`](Self::encode).
    async fn encode_query(&self, text: &str) -> Result<Embedding> {
        self.encode(text, Role::Query).await
    }

    /// Embeds one text as a document, to be found.
    ///
    /// # Errors
    ///
    /// As [`encode`](Self::encode).
    async fn encode_document(&self, text: &str) -> Result<Embedding> {
        self.encode(text, Role::Document).await
    }

    /// Embeds several texts; the response has a vector for each of them, in order.
    ///
    /// # Errors
    ///
    /// The error of the call, or the first error among the rows: all or nothing. To keep the good rows of a batch
    /// with a bad one, call [`Embedder::embed`].
    async fn encode_batch<T: AsRef<str> + Sync>(&self, texts: &[T], role: Role) -> Result<EmbedResponse> {
        self.embed(EmbedRequest::new(texts.iter().map(AsRef::as_ref), role)).await?.into_complete()
    }

    /// The dimension of this service's (default) model.
    fn dimension(&self) -> usize {
        self.model().dimension()
    }
}

impl<E: Embedder + ?Sized> EmbedderExt for E {}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;

    use super::*;
    use crate::{Health, ModelInfo, RowInfo, Space, Variant};

    /// The number of bytes.
    #[derive(Debug)]
    struct Lengths(ModelInfo);

    #[async_trait]
    impl Embedder for Lengths {
        fn model(&self) -> &ModelInfo {
            &self.0
        }

        async fn embed(&self, request: EmbedRequest) -> Result<EmbedResponse> {
            let mut response = EmbedResponse::builder(request.texts().len(), 1);
            for (row, text) in request.texts().iter().enumerate() {
                response.put(row, &[text.len() as f32], RowInfo::new(self.0.clone()));
            }
            Ok(response.build())
        }

        async fn health(&self) -> Health {
            Health::ready()
        }
    }

    #[test]
    fn a_batch_is_a_slice_of_any_strings_also_behind_dyn() {
        let variant = Variant::new(Space::builder("lengths", 1).build(), [("v", "1")]);
        let service = Lengths(ModelInfo::builder("test", "lengths", variant).build());
        let service: &dyn Embedder = &service;
        let strings: Vec<String> = ["a", "bcd"].map(Into::into).to_vec();
        let of_strings = block_on(service.encode_batch(&strings, Role::Query)).unwrap();
        assert_eq!(of_strings.into_matrix().unwrap(), (vec![1.0, 3.0], 1));
        let of_strs = block_on(service.encode_batch(&["a", "bcd"], Role::Query)).unwrap();
        assert_eq!(of_strs.into_matrix().unwrap(), (vec![1.0, 3.0], 1));
        assert_eq!(service.dimension(), 1);
    }
}
