//! A route: a name, a service, and the languages that its model supports.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use embed_core::{BreakerConfig, Embedder, Error, ErrorKind, Layer, ModelInfo, Result, place};

use crate::late::Late;
use crate::{Detection, Guard, Guarded, Kind};

/// A service with a name, to which texts can be sent.
///
/// Several routes may serve one space; they are each other's fallbacks, in the order given to the router.
#[derive(Debug, Clone)]
pub struct Route {
    pub(crate) name: Arc<str>,
    pub(crate) service: Service,
    pub(crate) cache: Option<CacheLayer>,
    pub(crate) reads: Reads,
    pub(crate) breaker: Option<BreakerConfig>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) guard: Option<Guard>,
    pub(crate) fallback: Option<Arc<str>>,
    pub(crate) is_same_space: bool,
}

/// Builds a [`Route`]. Whatever the order of the calls, the layers are in the right order: `Cached(Guarded(back end))`, so
/// that cached texts are served while the back end is down.
///
/// ```
/// # use std::time::Duration;
/// # use embed_core::{Embedder, Layer, place};
/// # use embed_router::{Guarded, Reads, Route};
/// # type BackEnd = std::sync::Arc<dyn Embedder>;
/// # fn route<C>(ollama: BackEnd, cache: C) -> Route
/// # where
/// #     C: Layer<Guarded<BackEnd>, Place = place::Cache> + Clone + Send + Sync + 'static,
/// # {
/// Route::builder("ollama")
///     .backend(ollama)
///     .cache(cache)
///     .timeout(Duration::from_secs(10))
///     .reads(Reads::only(["en"]))
///     .build()
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct RouteBuilder {
    route: Route,
}

/// Puts a cache around the guarded back end of a route.
#[derive(Clone)]
pub(crate) struct CacheLayer(Arc<dyn Fn(Guarded<BackEnd>) -> BackEnd + Send + Sync>);

type BackEnd = Arc<dyn Embedder>;

#[derive(Debug, Clone)]
pub(crate) enum Service {
    Here { embedder: BackEnd },
    Late(Late),
    Absent(Error),
}

/// The languages that a model supports.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reads {
    /// Every language.
    Everything,
    /// Only these languages, as ISO 639 codes like those of detections.
    Only(Vec<Cow<'static, str>>),
}

impl Route {
    /// A route to a back end, without a cache. [`builder`](Self::builder) sets more.
    pub fn new(name: impl Into<Arc<str>>, backend: impl Embedder) -> Self {
        Self::builder(name).backend(backend).build()
    }

    /// Begins a route. Its model supports every language unless [`reads`](RouteBuilder::reads) says otherwise. Without a
    /// back end the route is [absent](RouteBuilder::absent).
    pub fn builder(name: impl Into<Arc<str>>) -> RouteBuilder {
        let nothing = Error::new(ErrorKind::Config, "the route was built without a back end; give it one");
        let route = Self {
            name: name.into(),
            service: Service::Absent(nothing),
            cache: None,
            reads: Reads::Everything,
            breaker: None,
            timeout: None,
            guard: None,
            fallback: None,
            is_same_space: false,
        };
        RouteBuilder { route }
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl RouteBuilder {
    /// Sets the back end.
    pub fn backend(mut self, backend: impl Embedder) -> Self {
        self.route.service = Service::Here { embedder: Arc::new(backend) };
        self
    }

    /// Sets a back end that is unavailable now, and keeps connecting to it: for a server whose back end may start later.
    ///
    /// Until it has connected, its texts fail with [`ErrorKind::Unavailable`], or [`ErrorKind::ModelNotFound`] if that was
    /// the last reason; they go to another space only if [`fallback`](Self::fallback) or the router's settings say so.
    /// `connect` is called when the route is called or the router's [`health`](Embedder::health) is checked, with a backoff
    /// of half a second at first and up to five seconds; the first service that it returns is used from then on.
    ///
    /// `model` describes the model in advance, but its space isn't used before the service has connected; `reason` is why
    /// the service is unavailable.
    ///
    /// # Cancellation
    ///
    /// An attempt runs as a separate task, which isn't cancelled with a caller.
    pub fn connecting<C, F, E>(mut self, model: ModelInfo, reason: Error, connect: C) -> Self
    where
        C: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = Result<E>> + Send + 'static,
        E: Embedder,
    {
        self.route.service = Service::Late(Late::new(model, reason, connect));
        self
    }

    /// Says that the back end was unavailable when the program started, and why. There are no further attempts to connect,
    /// which suits a short-lived program; for a server use [`connecting`](Self::connecting).
    ///
    /// Texts that the policy would send to it go to its [`fallback`](Self::fallback), or fail with this error.
    pub fn absent(mut self, reason: Error) -> Self {
        self.route.service = Service::Absent(reason);
        self
    }

    /// Puts a cache around the back end and its guard, such as a clone of an `embed_cache::Cache`.
    pub fn cache<L>(mut self, cache: L) -> Self
    where
        L: Layer<Guarded<BackEnd>, Place = place::Cache> + Clone + Send + Sync + 'static,
    {
        self.route.cache = Some(CacheLayer(Arc::new(move |guarded| Arc::new(cache.clone().layer(guarded)))));
        self
    }

    /// Sets a breaker instead of that of the router's settings.
    pub fn breaker(mut self, breaker: BreakerConfig) -> Self {
        self.route.breaker = Some(breaker);
        self
    }

    /// Sets how long a call may take before it counts as failed and a fallback is called. There is none by default:
    /// services have their own timeouts, and a model may take minutes to load.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.route.timeout = Some(timeout);
        self
    }

    /// Sets the guard of the back end, which several routes to one server may share. It has its breaker and timeout, so
    /// the route may set neither.
    pub fn guard(mut self, guard: Guard) -> Self {
        self.route.guard = Some(guard);
        self
    }

    /// Sets the languages that the model supports.
    pub fn reads(mut self, reads: Reads) -> Self {
        self.route.reads = reads;
        self
    }

    /// Names the fallback for texts that the policy sends here while this route's service is unavailable, because it is
    /// [absent](Self::absent) or still [connecting](Self::connecting). It may be of another space, whose vectors don't
    /// match those stored from this route: use one only if that can't matter.
    pub fn fallback(mut self, route: impl Into<Arc<str>>) -> Self {
        self.route.fallback = Some(route.into());
        self
    }

    /// As [`fallback`](Self::fallback), for a route of the same space: texts for which a request or a pin names this route
    /// go there too. The caller vouches for the space, which the router can't know while this route's service is
    /// unavailable.
    pub fn same_space_fallback(mut self, route: impl Into<Arc<str>>) -> Self {
        self.route.is_same_space = true;
        self.fallback(route)
    }

    /// Builds the route.
    #[must_use]
    pub fn build(self) -> Route {
        self.route
    }
}

impl Service {
    /// Puts a guard around the back end and the cache around both.
    pub(crate) fn cached(self, guard: &Guard, CacheLayer(cache): CacheLayer) -> Self {
        let guard = guard.clone();
        let wrap = move |embedder| cache(Guarded::new(embedder, guard.clone()));
        match self {
            Self::Here { embedder } => Self::Here { embedder: wrap(embedder) },
            Self::Late(late) => Self::Late(late.map(wrap)),
            Self::Absent(reason) => Self::Absent(reason),
        }
    }
}

impl fmt::Debug for CacheLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CacheLayer")
    }
}

impl Reads {
    /// Only some languages.
    pub fn only<L: Into<Cow<'static, str>>>(languages: impl IntoIterator<Item = L>) -> Self {
        Self::Only(languages.into_iter().map(Into::into).collect())
    }

    /// Whether the model supports a text. Mixed text is supported only by models for every language, because part of it
    /// is in another language.
    #[must_use]
    pub fn covers(&self, detection: &Detection) -> bool {
        match self {
            Self::Everything => true,
            Self::Only(languages) => detection.kind != Kind::Mixed && languages.contains(&detection.language),
        }
    }
}
