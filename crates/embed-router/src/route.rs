//! A route: a name, a service, and what its model reads.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use embed_core::{BreakerConfig, Embedder, Error, ErrorKind, Layer, ModelInfo, Result, place};

use crate::late::Late;
use crate::{Detection, Guard, Guarded, Kind};

/// One way that a text may go: a service under a name.
///
/// Several routes may serve one space; they stand in for each other. Routes are asked in the order in which
/// the router got them.
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
}

/// A [`Route`] in the making. What stands before its back end is put in the right order whatever the order of the calls:
/// `Cached(Guarded(back end))`, so that what a cache has is served while the back end is down.
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

/// What puts a cache around the guarded back end of a route.
#[derive(Clone)]
pub(crate) struct CacheLayer(Arc<dyn Fn(Guarded<BackEnd>) -> BackEnd + Send + Sync>);

type BackEnd = Arc<dyn Embedder>;

#[derive(Debug, Clone)]
pub(crate) enum Service {
    Here { embedder: BackEnd },
    Late(Late),
    Absent(Error),
}

/// The languages that a model gives a meaning to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reads {
    /// Every language.
    Everything,
    /// These languages alone, as ISO 639 codes in the form that detections have.
    Only(Vec<Cow<'static, str>>),
}

impl Route {
    /// A route to a back end, without a cache. [`builder`](Self::builder) sets more.
    pub fn new(name: impl Into<Arc<str>>, backend: impl Embedder) -> Self {
        Self::builder(name).backend(backend).build()
    }

    /// Begins a route. Its model reads everything unless [`reads`](RouteBuilder::reads) says otherwise. Without a back
    /// end it is [absent](RouteBuilder::absent).
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

    /// Sets a back end that isn't there now and is looked for: what a server takes whose back end may start later
    /// than itself.
    ///
    /// Until it is there, its texts fail with [`ErrorKind::Unavailable`], or [`ErrorKind::ModelNotFound`] if that was the
    /// last reason, and in words; they go to no other space unless [`fallback`](Self::fallback) or the router's settings
    /// say so. `connect` is called again and again, at most every half second at first and every five seconds later, when
    /// the route is called or the router is asked for its [`health`](Embedder::health); the first service that it gives is
    /// the route's for good.
    ///
    /// `model` is what is known of the model beforehand, and its space counts for nothing until the service is there;
    /// `reason` is why it isn't.
    ///
    /// # Cancellation
    ///
    /// A try runs as a task of its own; nobody's going away ends it.
    pub fn connecting<C, F, E>(mut self, model: ModelInfo, reason: Error, connect: C) -> Self
    where
        C: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = Result<E>> + Send + 'static,
        E: Embedder,
    {
        self.route.service = Service::Late(Late::new(model, reason, connect));
        self
    }

    /// Says that the back end wasn't there when the program began, and why. It isn't looked for again, which suits a
    /// program that ends soon; a server takes [`connecting`](Self::connecting).
    ///
    /// What the policy would send there goes to the route named by [`fallback`](Self::fallback), or fails with this error.
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

    /// Sets a breaker other than that of the router's settings.
    pub fn breaker(mut self, breaker: BreakerConfig) -> Self {
        self.route.breaker = Some(breaker);
        self
    }

    /// Sets how long a call may take before the route counts as failed and the next one of its space is asked.
    /// There is none by default: services have timeouts of their own, and a model may take minutes to load.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.route.timeout = Some(timeout);
        self
    }

    /// Sets the guard before the back end in place of one of the route's own: routes to one server may share it. It has
    /// its breaker and its timeout, and the route may set neither.
    pub fn guard(mut self, guard: Guard) -> Self {
        self.route.guard = Some(guard);
        self
    }

    /// Sets what the model reads.
    pub fn reads(mut self, reads: Reads) -> Self {
        self.route.reads = reads;
        self
    }

    /// Names the route that takes over what the policy sends here while this one's service isn't there, because it is
    /// [absent](Self::absent) or [looked for](Self::connecting). It may be of another space, in which vectors that
    /// others stored by this route find nothing: say so only where that can't be.
    pub fn fallback(mut self, route: impl Into<Arc<str>>) -> Self {
        self.route.fallback = Some(route.into());
        self
    }

    /// The route.
    #[must_use]
    pub fn build(self) -> Route {
        self.route
    }
}

impl Service {
    /// The service with a guard next to the back end and the cache around both.
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
    /// Some languages alone.
    pub fn only<L: Into<Cow<'static, str>>>(languages: impl IntoIterator<Item = L>) -> Self {
        Self::Only(languages.into_iter().map(Into::into).collect())
    }

    /// Whether a model that reads this reads a text. Mixed text is read by models that read everything alone:
    /// a part of it is in another language.
    #[must_use]
    pub fn covers(&self, detection: &Detection) -> bool {
        match self {
            Self::Everything => true,
            Self::Only(languages) => detection.kind != Kind::Mixed && languages.contains(&detection.language),
        }
    }
}
