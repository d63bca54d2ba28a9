//! Layers: decorators that are put around a back end in one expression, in an order that the compiler checks.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use crate::Embedder;

/// Puts a decorator around an embedder.
///
/// A crate with a decorator implements it for the type that creates one: `embed_cache::Cache`, `embed_router::Guard`,
/// `embed_metrics::Metrics`. The place of your decorator is [anywhere](place::Anywhere), unless its order matters.
///
/// ```
/// # use embed_core::*;
/// /// Gives every call a deadline.
/// struct Hurry(std::time::Duration);
///
/// #[derive(Debug)]
/// struct Hurried<E>(E, std::time::Duration);
///
/// impl<E: Embedder> Layer<E> for Hurry {
///     type Embedder = Hurried<E>;
///     type Place = place::Anywhere;
///
///     fn layer(self, inner: E) -> Hurried<E> {
///         Hurried(inner, self.0)
///     }
/// }
///
/// #[async_trait]
/// impl<E: Embedder> Embedder for Hurried<E> {
///     fn model(&self) -> &ModelInfo {
///         self.0.model()
///     }
///
///     async fn embed(&self, request: EmbedRequest) -> Result<EmbedResponse> {
///         let sooner = Deadline::at(std::time::Instant::now()).later_by(self.1);
///         let deadline = request.deadline().or_earlier(sooner);
///         self.0.embed(request.with_deadline(deadline)).await
///     }
///
///     async fn health(&self) -> Health {
///         self.0.health().await
///     }
/// }
/// ```
pub trait Layer<E> {
    /// The embedder with the decorator around it.
    type Embedder: Embedder;
    /// Where in a stack the decorator belongs: one of [`place`].
    type Place;

    /// Puts the decorator around an embedder.
    fn layer(self, inner: E) -> Self::Embedder;
}

/// An embedder whose rows are all of the variant of its [`model`](Embedder::model): a back end, not something that
/// chooses among several.
///
/// Implement it for your back end, so that a [`Stack`] can begin with it. It doesn't hold for a router. So no cache can be
/// put around a router, where it could return a vector of one space to a caller that expects another.
#[diagnostic::on_unimplemented(
    message = "a stack can't begin with `{Self}`: it isn't known that all its rows are of one space",
    note = "implement `SingleSpace` for your back end; a stack around a router begins with `Stack::of_router`"
)]
pub trait SingleSpace: Embedder {}

impl<E: SingleSpace + ?Sized> SingleSpace for Arc<E> {}
impl<E: SingleSpace + ?Sized> SingleSpace for Box<E> {}

/// A back end or a router with layers around it, innermost first.
///
/// Each layer has its place, and a wrong order doesn't compile:
///
/// | place | layer | why |
/// |---|---|---|
/// | [`Backend`](place::Backend) | – | |
/// | [`BackendMeter`](place::BackendMeter) | metrics of the back end | counts what the cache lets through |
/// | [`Guard`](place::Guard) | breaker and timeout | around the cache it would also block cached texts |
/// | [`Cache`](place::Cache) | cache | its key needs the variant, which only the rows of one back end share |
/// | [`Router`](place::Router) | the router, over stacks as its routes | |
/// | [`CallerMeter`](place::CallerMeter) | metrics of callers | counts what callers see |
///
/// ```
/// # use embed_core::{Embedder, Layer, SingleSpace, Stack, place};
/// # fn stack<B, M, G, C>(back_end: B, metrics: M, guard: G, cache: C)
/// # where
/// #     B: SingleSpace,
/// #     M: Layer<B, Place = place::BackendMeter>,
/// #     G: Layer<M::Embedder, Place = place::Guard>,
/// #     C: Layer<G::Embedder, Place = place::Cache>,
/// # {
/// let embedder = Stack::new(back_end).layer(metrics).layer(guard).layer(cache).build();
/// # }
/// ```
///
/// A guard around the cache is refused:
///
/// ```compile_fail,E0277
/// # use embed_core::{Embedder, Layer, SingleSpace, Stack, place};
/// # fn stack<B, G, C>(back_end: B, guard: G, cache: C)
/// # where
/// #     B: SingleSpace,
/// #     C: Layer<B, Place = place::Cache>,
/// #     G: Layer<C::Embedder, Place = place::Guard>,
/// # {
/// let embedder = Stack::new(back_end).layer(cache).layer(guard).build();
/// # }
/// ```
///
/// So is a cache around a router:
///
/// ```compile_fail,E0277
/// # use embed_core::{Embedder, Layer, SingleSpace, Stack, place};
/// # fn stack<R: Embedder, C: Layer<R, Place = place::Cache>>(router: R, cache: C) {
/// let embedder = Stack::of_router(router).layer(cache).build();
/// # }
/// ```
pub struct Stack<E, P = place::Backend> {
    embedder: E,
    place: PhantomData<fn() -> P>,
}

impl<E: SingleSpace> Stack<E> {
    /// A stack that begins with a back end.
    #[must_use]
    pub fn new(back_end: E) -> Self {
        Self { embedder: back_end, place: PhantomData }
    }
}

impl<E: Embedder> Stack<E, place::Router> {
    /// A stack that begins with a router, or with anything else that has several spaces.
    #[must_use]
    pub fn of_router(router: E) -> Self {
        Self { embedder: router, place: PhantomData }
    }
}

impl<E, P> Stack<E, P> {
    /// Puts a layer around the stack.
    #[must_use]
    pub fn layer<L>(self, layer: L) -> Stack<L::Embedder, <L::Place as place::Around<P>>::Place>
    where
        L: Layer<E>,
        L::Place: place::Around<P>,
    {
        Stack { embedder: layer.layer(self.embedder), place: PhantomData }
    }

    /// The outermost embedder.
    #[must_use]
    pub fn build(self) -> E {
        self.embedder
    }
}

impl<E: fmt::Debug, P> fmt::Debug for Stack<E, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Stack").field(&self.embedder).finish()
    }
}

/// The places of a stack, from the inside to the outside.
pub mod place {
    /// A place that may be around the place `P`.
    #[diagnostic::on_unimplemented(
        message = "a layer whose place is `{Self}` can't be put around `{P}`",
        note = "from the inside to the outside: Backend, BackendMeter, Guard, Cache, Router, CallerMeter"
    )]
    pub trait Around<P> {
        /// The outermost place of a stack with the layer.
        type Place;
    }

    macro_rules! places {
        ($($(#[$about:meta])* $place:ident: around $($inner:ident)*;)*) => {$(
            $(#[$about])*
            #[derive(Debug)]
            pub enum $place {}

            $(
                impl Around<$inner> for $place {
                    type Place = Self;
                }
            )*
        )*};
    }

    places! {
        /// A back end alone.
        Backend: around;
        /// Metrics of a back end.
        BackendMeter: around Backend;
        /// A breaker.
        Guard: around Backend BackendMeter;
        /// A cache.
        Cache: around Backend BackendMeter Guard;
        /// A router.
        Router: around Backend BackendMeter Guard Cache;
        /// Metrics of callers, the outermost place.
        CallerMeter: around Backend BackendMeter Guard Cache Router;
    }

    /// Any place.
    #[derive(Debug)]
    pub enum Anywhere {}

    impl<P> Around<P> for Anywhere {
        type Place = P;
    }
}
