//! The one trait that every back end and every decorator implements.

use std::fmt::Debug;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;

use crate::{EmbedRequest, EmbedResponse, Health, ModelInfo, Result};

/// A service that turns texts into vectors.
///
/// This is the whole contract for implementers. What callers want beside it (one text, a query, a
/// dimension) is in [`EmbedderExt`](crate::EmbedderExt), which every `Embedder` has for free, so that a
/// decorator can never forget to pass one of those methods on.
///
/// Decorators (a cache, a router, metrics) are `Embedder`s themselves, and so are `Arc<E>`, `Box<E>` and
/// `Arc<dyn Embedder>`.
#[async_trait]
pub trait Embedder: Debug + Send + Sync + 'static {
    /// The model that answers, known without asking anybody.
    ///
    /// A service of several models (a router) describes the default one here; each row of a response
    /// names the model that made it.
    fn model(&self) -> &ModelInfo;

    /// Embeds every text of the request.
    ///
    /// The response has exactly one row for each text, in the order of the request. A row is a vector or
    /// that row's own error; a bad text never takes its neighbours with it.
    ///
    /// # Errors
    ///
    /// An error of the call means that there is no row at all: the service is gone, refuses the caller, or
    /// the deadline of the request is over.
    ///
    /// # Cancellation
    ///
    /// Dropping the future gives back everything that the call holds (permits, places in a queue). Work
    /// that has begun may run to its end, but its result is thrown away.
    async fn embed(&self, request: EmbedRequest) -> Result<EmbedResponse>;

    /// Whether the service could answer now, found out cheaply: no text is embedded for it unless the
    /// service has no other way to know.
    async fn health(&self) -> Health;
}

/// What `async_trait` makes of an `async fn`.
type BoxFuture<'f, T> = Pin<Box<dyn Future<Output = T> + Send + 'f>>;

macro_rules! forward_to_pointee {
    ($pointer:ident) => {
        /// Calls go straight on: no future is boxed for the pointer.
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
