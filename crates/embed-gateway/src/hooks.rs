//! What a gateway shows beside vectors, and who supplies it: the router explains and plans, the exporter renders
//! metrics, the stack tells its state. All of it is optional.

use std::any::Any;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use embed_core::{Coverage, EmbedRequest, Embedding, Result, Role, TraceContext, async_trait};
use serde::Serialize;

/// Says where a text would go, and why, without embedding it.
pub trait Explainer: fmt::Debug + Send + Sync + 'static {
    /// The decision for one text. `partition` is the collection or tenant that it belongs to.
    fn explain(&self, text: &str, role: Role, partition: Option<&str>) -> Explanation;
}

/// Where a text goes, and why.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Explanation {
    /// The language, as BCP 47 has it, such as `ja`; `und` if it isn't known.
    pub language: String,
    /// How sure that is, from 0 to 1.
    pub confidence: f32,
    /// The rule that decided.
    pub rule: String,
    /// The route.
    pub route: String,
    /// The id of the space in which the vector will lie.
    pub space: String,
}

/// Is told of requests as they happen, to count them.
pub trait Observer: fmt::Debug + Send + Sync + 'static {
    /// A request begins, in a dialect: `openai`, `ollama`, `tei` or `native`.
    fn request(&self, dialect: &'static str) -> Box<dyn ObservedRequest>;

    /// A piece of a request begins to wait for its turn. What this gives is dropped when the wait is over, because
    /// the turn came or because the caller gave up.
    fn wait(&self) -> Box<dyn Any + Send>;

    /// A request or a connection was refused, by the limit or the rule of this name: `key`, `host`, `origin`,
    /// `queue`, `deadline`, `displaced`, `rows`, `body_bytes`, `held_bytes`, `address` or `draining`.
    fn refused(&self, limit: &'static str) {
        let _ = limit;
    }

    /// A request begins in `span`, in which everything happens that is done for it, and belongs to its caller's trace if
    /// `caller` has one. Whoever records spans makes that one a child of it, and gives the context of the span, which the
    /// calls of the stack carry on; with `None` they carry the caller's.
    fn continue_trace(&self, span: &tracing::Span, caller: &TraceContext) -> Option<TraceContext> {
        let _ = (span, caller);
        None
    }
}

/// A request that goes on. It is dropped without an answer if its client hung up, also in the middle of the answer.
pub trait ObservedRequest: Send {
    /// It was answered with this status, and the answer is with the network.
    fn answered(self: Box<Self>, status: u16);
}

/// Makes the vectors with which a text is searched or stored, when models read different languages.
#[async_trait]
pub trait Planner: fmt::Debug + Send + Sync + 'static {
    /// The plan of every text of the request, in order. For queries, `coverage` has no meaning: a query asks in
    /// every space whose model reads its language.
    ///
    /// # Errors
    ///
    /// An error of the call; a vector that failed is an error of its own.
    ///
    /// # Cancellation
    ///
    /// As for [`Embedder::embed`](embed_core::Embedder::embed).
    async fn plan(&self, request: EmbedRequest, coverage: Coverage) -> Result<Vec<Plan>>;
}

/// Cuts texts into the tokens that a model reads. It is called on a thread that may block.
pub trait Tokenizer: fmt::Debug + Send + Sync + 'static {
    /// The tokens of a text in a role, however many: special ones, the prefix of the role, and the text's own.
    ///
    /// # Errors
    ///
    /// An error of the text, such as [`InvalidInput`](embed_core::ErrorKind::InvalidInput).
    fn tokenise(&self, text: &str, role: Role) -> Result<Vec<Token>>;

    /// The text of tokens, with or without the special ones.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](embed_core::ErrorKind::InvalidInput) for an id that no token has.
    fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String>;
}

/// A token of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Token {
    /// Its number in the model's vocabulary.
    pub id: u32,
    /// How the vocabulary writes it, such as `▁river`.
    pub text: String,
    /// Whether it frames the text.
    pub special: bool,
    /// The characters of the text that it stands for, counted in Unicode scalar values, if that is known.
    pub span: Option<Range<usize>>,
}

/// The vectors of one text, one for each space.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Plan {
    /// The vectors, or why there is none.
    pub vectors: Vec<Result<Embedding>>,
}

/// The state of the stack, as its builder tells it for `/status`.
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
    /// The model behind it.
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
    /// Bytes in it, if it knows.
    pub bytes: Option<u64>,
}

/// Tells the state of the stack.
pub(crate) type StatusSource = Arc<dyn Fn() -> StackStatus + Send + Sync>;
/// Renders metrics as Prometheus reads them.
pub(crate) type MetricsSource = Arc<dyn Fn() -> String + Send + Sync>;

/// What was supplied.
#[derive(Clone, Default)]
pub(crate) struct Extensions {
    pub(crate) explainer: Option<Arc<dyn Explainer>>,
    pub(crate) planner: Option<Arc<dyn Planner>>,
    pub(crate) status: Option<StatusSource>,
    pub(crate) metrics: Option<MetricsSource>,
    pub(crate) observer: Option<Arc<dyn Observer>>,
}

impl Token {
    /// A token of a text, of which it isn't known which characters it stands for.
    pub fn new(id: u32, text: impl Into<String>, special: bool) -> Self {
        Self { id, text: text.into(), special, span: None }
    }

    /// Sets the characters that it stands for.
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
    /// A route by its name, model and space, and its state.
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
    /// A tier by its name and state.
    pub fn new(name: impl Into<String>, state: impl Into<String>) -> Self {
        Self { name: name.into(), state: state.into(), ..Self::default() }
    }

    /// Sets what was found in it and what wasn't.
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
