//! A route: a name, a service, and what its model reads.

use std::borrow::Cow;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use embed_core::{BreakerConfig, Embedder, Error, ModelInfo, Result};

use crate::late::Late;
use crate::{Detection, Guard, Kind};

/// One way that a text may go: a service under a name.
///
/// Several routes may serve one space; they stand in for each other. Routes are asked in the order in which
/// the router got them.
#[derive(Debug, Clone)]
pub struct Route {
    pub(crate) name: Arc<str>,
    pub(crate) service: Service,
    pub(crate) reads: Reads,
    pub(crate) breaker: Option<BreakerConfig>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) guard: Option<Guard>,
    pub(crate) fallback: Option<Arc<str>>,
}

#[derive(Debug, Clone)]
pub(crate) enum Service {
    Here { embedder: Arc<dyn Embedder>, stack: Arc<str> },
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
    /// A route to a service that can print what it is made of. Its model reads everything unless
    /// [`with_reads`](Self::with_reads) says otherwise.
    pub fn new(name: impl Into<Arc<str>>, embedder: impl Embedder + Display) -> Self {
        let stack = embedder.to_string().into();
        Self::with_service(name.into(), Service::Here { embedder: Arc::new(embedder), stack })
    }

    /// A route to a service of which no more than the trait is known; it is printed as its model.
    pub fn shared(name: impl Into<Arc<str>>, embedder: Arc<dyn Embedder>) -> Self {
        let stack = format!("{}/{}", embedder.model().service(), embedder.model().name()).into();
        Self::with_service(name.into(), Service::Here { embedder, stack })
    }

    /// A route whose service isn't there now and is looked for: what a server takes whose back end may start later
    /// than itself.
    ///
    /// Until it is there, its texts fail with [`ErrorKind::Unavailable`](embed_core::ErrorKind::Unavailable), or
    /// [`ModelNotFound`](embed_core::ErrorKind::ModelNotFound) if that was the last reason, and in words; they go to no other space unless [`with_fallback`](Self::with_fallback) or the router's settings
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
    pub fn connecting<C, F, E>(name: impl Into<Arc<str>>, model: ModelInfo, reason: Error, connect: C) -> Self
    where
        C: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = Result<E>> + Send + 'static,
        E: Embedder + Display,
    {
        Self::with_service(name.into(), Service::Late(Late::new(model, reason, connect)))
    }

    /// A route whose service wasn't there when the program began, and why. It isn't looked for again, which suits a
    /// program that ends soon; a server takes [`connecting`](Self::connecting).
    ///
    /// What the policy would send there goes to the route named by [`with_fallback`](Self::with_fallback), or fails
    /// with this error.
    pub fn absent(name: impl Into<Arc<str>>, reason: Error) -> Self {
        Self::with_service(name.into(), Service::Absent(reason))
    }

    fn with_service(name: Arc<str>, service: Service) -> Self {
        Self {
            name,
            service,
            reads: Reads::Everything,
            breaker: None,
            timeout: None,
            guard: None,
            fallback: None,
        }
    }

    /// Sets what the model reads.
    #[must_use]
    pub fn with_reads(mut self, reads: Reads) -> Self {
        self.reads = reads;
        self
    }

    /// Sets a breaker other than that of the router's settings.
    #[must_use]
    pub fn with_breaker(mut self, breaker: BreakerConfig) -> Self {
        self.breaker = Some(breaker);
        self
    }

    /// Sets how long a call may take before the route counts as failed and the next one of its space is asked.
    /// There is none by default: services have timeouts of their own, and a model may take minutes to load.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Says that a [`Guarded`](crate::Guarded) inside of the service stands behind this guard, so that the router puts
    /// none around it, and what a cache has is served while the back end is down. It replaces
    /// [`with_breaker`](Self::with_breaker) and [`with_timeout`](Self::with_timeout), which belong to the guard then.
    #[must_use]
    pub fn with_guard(mut self, guard: Guard) -> Self {
        self.guard = Some(guard);
        self
    }

    /// Names the route that takes over what the policy sends here while this one's service isn't there, because it is
    /// [absent](Self::absent) or [looked for](Self::connecting). It may be of another space, in which vectors that
    /// others stored by this route find nothing: say so only where that can't be.
    #[must_use]
    pub fn with_fallback(mut self, route: impl Into<Arc<str>>) -> Self {
        self.fallback = Some(route.into());
        self
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
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
            Self::Only(languages) => {
                detection.kind != Kind::Mixed
                    && languages.iter().any(|language| *language == detection.language)
            }
        }
    }
}
