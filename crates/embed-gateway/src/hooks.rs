//! Optional hooks for what a gateway shows besides vectors: decisions and plans of a router, metrics, the state of the
//! stack, and an observer of requests.

use std::any::Any;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use embed_core::{Coverage, EmbedRequest, Embedding, Result, Role, TraceContext, async_trait};
use serde::Serialize;

/// Explains where a text would go, without embedding it.
pub trait Explainer: fmt::Debug + Send + Sync + 'static {
    /// The decision for one text. `partition` is its collection or tenant.
    fn explain(&self, text: &str, role: Role, partition: Option<&str>) -> Explanation;
}

/// Where a text would go, and why.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Explanation {
    /// The language as a BCP 47 tag, such as `ja`; `und` if unknown.
    pub language: String,
    /// The confidence of the language, from 0 to 1.
    pub confidence: f32,
    /// The rule that decided.
    pub rule: String,
    /// The route.
    pub route: String,
    /// The id of the vector's space.
    pub space: String,
}

/// Is notified of requests as they happen, to count them.
pub trait Observer: fmt::Debug + Send + Sync + 'static {
    /// A request begins, in a dialect: `openai`, `ollama`, `tei` or `native`.
    fn request(&self, dialect: &'static str) -> Box<dyn ObservedRequest>;

    /// A piece of a request begins to wait for its turn. The returned value is dropped when the wait ends, because the turn
    /// came or the caller gave up.
    fn wait(&self) -> Box<dyn Any + Send>;

    /// A request or connection was refused by the limit or rule of this name: `key`, `host`, `origin`, `queue`,
    /// `deadline`, `displaced`, `rows`, `body_bytes`, `held_bytes`, `address` or `draining`.
    fn refused(&self, limit: &'static str) {
        let _ = limit;
    }

    /// A request begins in `span`, which covers everything done for it, and belongs to the trace of `caller` if that has
    /// one. An implementation that records spans makes `span` a child of that trace and returns the span's context, which
    /// is propagated to calls of the stack; with `None` the caller's context is propagated.
    fn continue_trace(&self, span: &tracing::Span, caller: &TraceContext) -> Option<TraceContext> {
        let _ = (span, caller);
        None
    }
}

/// A request in flight. It is dropped without a call of `answered` if its client hung up, even during the answer.
pub trait ObservedRequest: Send {
    /// The answer with this status has been sent.
    fn answered(self: Box<Self>, status: u16);
}

/// Plans the vectors to search with or to store, when models support different languages.
#[async_trait]
pub trait Planner: fmt::Debug + Send + Sync + 'static {
    /// The plan of every text of the request, in order. For queries, `coverage` has no effect: a query is searched in every
    /// space whose model supports its language.
    ///
    /// # Errors
    ///
    /// An error of the whole call. Errors of single vectors are in the plans.
    ///
    /// # Cancellation
    ///
    /// As for [`Embedder::embed`](embed_core::Embedder::embed).
    async fn plan(&self, request: EmbedRequest, coverage: Coverage) -> Result<Vec<Plan>>;
}

/// Tokenizes texts for a model. It is called on a thread that may block.
pub trait Tokenizer: fmt::Debug + Send + Sync + 'static {
    /// All tokens of a text in a role: special ones, the role's prefix, and the text's.
    ///
    /// # Errors
    ///
    /// An error of the text, such as [`InvalidInput`](embed_core::ErrorKind::InvalidInput).
    fn tokenise(&self, text: &str, role: Role) -> Result<Vec<Token>>;

    /// The text of tokens, with or without the special ones.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](embed_core::ErrorKind::InvalidInput) for an unknown id.
    fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String>;
}

/// A token of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Token {
    /// Its id in the model's vocabulary.
    pub id: u32,
    /// Its form in the vocabulary, such as `▁river`.
    pub text: String,
    /// Whether it is a special token.
    pub special: bool,
    /// Its range in the text, in Unicode scalar values, if known.
    pub span: Option<Range<usize>>,
}

/// The vectors of one text, one per space.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Plan {
    /// The vectors, or why there is none.
    pub vectors: Vec<Result<Embedding>>,
}

/// The state of the stack for `/status`.
#[derive(Debug, Clone, Default, Serialize)]
#[non_exhaustive]
pub struct StackStatus {
    /// The routes of the router.
    pub routes: Vec<RouteStatus>,
    /// The tiers of the cache.
    pub caches: Vec<CacheStatus>,
}

/// The state of a route.
#[derive(Debug, Clone, Default, Serialize)]
#[non_exhaustive]
pub struct RouteStatus {
    /// Its name.
    pub name: String,
    /// Its model.
    pub model: String,
    /// The id of its space.
    pub space: String,
    /// One word: `ready`, `degraded`, `unavailable`.
    pub state: String,
    /// Why it isn't ready, in a sentence.
    pub reason: Option<String>,
}

/// The state of a cache tier.
#[derive(Debug, Clone, Default, Serialize)]
#[non_exhaustive]
pub struct CacheStatus {
    /// Its name, such as `memory`.
    pub name: String,
    /// One word: `ready`, `degraded`, `unavailable`.
    pub state: String,
    /// Rows found in it since the start.
    pub hits: u64,
    /// Rows not found in it since the start.
    pub misses: u64,
    /// Bytes in it, if known.
    pub bytes: Option<u64>,
}

/// Returns the state of the stack.
pub(crate) type StatusSource = Arc<dyn Fn() -> StackStatus + Send + Sync>;
/// Renders metrics in Prometheus's format.
pub(crate) type MetricsSource = Arc<dyn Fn() -> String + Send + Sync>;

/// The supplied hooks.
#[derive(Clone, Default)]
pub(crate) struct Extensions {
    pub(crate) explainer: Option<Arc<dyn Explainer>>,
    pub(crate) planner: Option<Arc<dyn Planner>>,
    pub(crate) status: Option<StatusSource>,
    pub(crate) metrics: Option<MetricsSource>,
    pub(crate) observer: Option<Arc<dyn Observer>>,
}

impl Token {
    /// A token without a known range in the text.
    pub fn new(id: u32, text: impl Into<String>, special: bool) -> Self {
        Self { id, text: text.into(), special, span: None }
    }

    /// Sets its range in the text.
    #[must_use]
    pub fn with_span(mut self, span: Option<Range<usize>>) -> Self {
        self.span = span;
        self
    }
}

impl Explanation {
    /// A decision.
    pub fn new(language: impl Into<String>, confidence: f32, rule: impl Into<String>) -> Self {
        Self {
            language: language.into(),
            confidence,
            rule: rule.into(),
            route: String::new(),
            space: String::new(),
        }
    }

    /// Sets where the text goes.
    #[must_use]
    pub fn with_route(mut self, route: impl Into<String>, space: impl Into<String>) -> Self {
        self.route = route.into();
        self.space = space.into();
        self
    }
}

impl Plan {
    /// A plan of these vectors.
    #[must_use]
    pub fn new(vectors: Vec<Result<Embedding>>) -> Self {
        Self { vectors }
    }
}

impl StackStatus {
    /// The state of routes and caches.
    #[must_use]
    pub fn new(routes: Vec<RouteStatus>, caches: Vec<CacheStatus>) -> Self {
        Self { routes, caches }
    }
}

impl RouteStatus {
    /// A route with its name, model, space and state.
    pub fn new(
        name: impl Into<String>,
        model: impl Into<String>,
        space: impl Into<String>,
        state: impl Into<String>,
    ) -> Self {
        Self {
            name: name.into(),
            model: model.into(),
            space: space.into(),
            state: state.into(),
            reason: None,
        }
    }

    /// Sets why it isn't ready.
    #[must_use]
    pub fn with_reason(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }
}

impl CacheStatus {
    /// A tier with its name and state.
    pub fn new(name: impl Into<String>, state: impl Into<String>) -> Self {
        Self { name: name.into(), state: state.into(), ..Self::default() }
    }

    /// Sets the counts of hits and misses.
    #[must_use]
    pub fn with_counts(mut self, hits: u64, misses: u64) -> Self {
        self.hits = hits;
        self.misses = misses;
        self
    }

    /// Sets the bytes in it.
    #[must_use]
    pub fn with_bytes(mut self, bytes: u64) -> Self {
        self.bytes = Some(bytes);
        self
    }
}

impl fmt::Debug for Extensions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Extensions")
            .field("explainer", &self.explainer)
            .field("planner", &self.planner)
            .field("status", &self.status.is_some())
            .field("metrics", &self.metrics.is_some())
            .field("observer", &self.observer)
            .finish()
    }
}
