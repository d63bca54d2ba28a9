//! The one trait that every back end and every decorator implements.

use std::fmt::Debug;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;

use crate::{EmbedRequest, EmbedResponse, Health, ModelInfo, Result};

/// A service that turns texts into vectors.
///
/// This is all that implementers provide. Conveniences for callers (one text, a query, the dimension) are in
/// [`EmbedderExt`](crate::EmbedderExt), which every `Embedder` implements automatically, so that a decorator
/// can't forget to forward one of them.
///
/// Decorators (a cache, a router, metrics) are `Embedder`s themselves, and so are `Arc<E>`, `Box<E>` and
/// `Arc<dyn Embedder>`.
#[async_trait]
pub trait Embedder: Debug + Send + Sync + 'static {
    /// The model of this service, known without a call.
    ///
    /// A service with several models (a router) returns the default one; each row of a response names the model
    /// that computed it.
    fn model(&self) -> &ModelInfo;

    /// Embeds every text of the request.
    ///
    /// The response has exactly one row for each text, in the order of the request. A row is a vector or an
    /// error; an invalid text doesn't affect the other rows.
    ///
    /// # Errors
    ///
    /// An error of the call means that there are no rows at all: the service is unavailable or refuses the caller,
    /// or the deadline of the request has passed.
    ///
    /// # Cancellation
    ///
    /// Dropping the future releases everything that the call holds (permits, places in a queue). Work that has
    /// begun may run to completion, but its result is discarded.
    async fn embed(&self, request: EmbedRequest) -> Result<EmbedResponse>;

    /// Whether the service can answer now. This is cheap: no text is embedded for it unless the service has no
    /// other way to know.
    async fn health(&self) -> Health;
}

/// The return type that `async_trait` gives an `async fn`.
type BoxFuture<'f, T> = Pin<Box<dyn Future<Output = T> + Send + 'f>>;

macro_rules! forward_to_pointee {
    ($pointer:ident) => {
        /// Calls are forwarded without another boxed future.
        impl<E: Embedder + ?Sized> Embedder for $pointer<E> {
            fn model(&self) -> &ModelInfo {
                (**self).model()
            }

            fn embed<'e, 'f>(&'e self, request: EmbedRequest) -> BoxFuture<'f, Result<EmbedResponse>>
            where
                'e: 'f,
                Self: 'f,
            {
                (**self).embed(request)
            }

            fn health<'e, 'f>(&'e self) -> BoxFuture<'f, Health>
            where
                'e: 'f,
                Self: 'f,
            {
                (**self).health()
            }
        }
    };
}

forward_to_pointee!(Arc);
forward_to_pointee!(Box);
