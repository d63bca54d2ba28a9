//! What is asked of a service.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind, TraceContext};

/// Texts to embed, and how. Owned and cheap to clone, so that it can be sent again, split and moved to
/// another thread.
///
/// ```
/// use embed_core::{EmbedRequest, Role, Truncation};
///
/// let request = EmbedRequest::new(["富士山の高さ", "height of Mount Fuji"], Role::Query)
///     .with_truncation(Truncation::End);
/// assert_eq!(request.texts().len(), 2);
/// ```
#[derive(Clone)]
pub struct EmbedRequest {
    texts: Arc<[Arc<str>]>,
    role: Role,
    truncation: Truncation,
    partition: Option<Arc<str>>,
    deadline: Option<Instant>,
    route: Option<Arc<str>>,
    trace: TraceContext,
}

/// What a text is for. Models with prefixes (E5) give a query and a document of the same words different
/// vectors; the role chooses the prefix, never the caller's string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Something to search with.
    Query,
    /// Something to be found.
    Document,
}

/// What to do with a text that is longer than the model reads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Truncation {
    /// The row is an error of kind [`InputTooLong`](ErrorKind::InputTooLong). The default, because a cut
    /// text is a wrong vector that nobody notices.
    #[default]
    Error,
    /// Drop the end: embed the first tokens.
    End,
    /// Drop the start: embed the last tokens.
    Start,
    /// Embed all of the text in consecutive chunks that don't overlap, and take the mean of their vectors. The row
    /// counts as not cut.
    ///
    /// One rule for every service: of chunks with the vectors *v₁ … vₙ* and *t₁ … tₙ* tokens of the text (special
    /// tokens and prefix don't count) the vector is *s*/|*s*| with *s* = *t₁*·*v₁*/|*v₁*| + … + *tₙ*·*vₙ*/|*vₙ*|,
    /// summed in this order in `f64`: [`vector::ChunkMean`](crate::vector::ChunkMean). Each chunk has
    /// the role's prefix. A cut to fewer dimensions is made of the mean, not of the chunks. A text that the model reads at once is one chunk, and its vector is the same under every policy.
    ///
    /// *Where* a text is split is the service's own: one with the tokenizer at hand makes as few chunks as can be, of
    /// even size in tokens; one that only sees what a server counts takes the longest piece that fits, again and again,
    /// cut between words. Without counts, a chunk weighs its bytes.
    ChunkMean,
}

/// What [`EmbedRequest::new`] takes for a text: strings of every kind, owned or borrowed.
pub trait IntoText {
    /// The text, shared where it is an `Arc<str>` already, else copied.
    fn into_text(self) -> Arc<str>;
}

macro_rules! texts {
    ($($owned:ty),*) => {$(
        impl IntoText for $owned {
            fn into_text(self) -> Arc<str> {
                self.into()
            }
        }

        impl IntoText for &$owned {
            fn into_text(self) -> Arc<str> {
                Arc::from(&**self)
            }
        }
    )*};
}

texts!(&str, String, Box<str>, Cow<'_, str>);

impl IntoText for Arc<str> {
    fn into_text(self) -> Self {
        self
    }
}

impl IntoText for &Arc<str> {
    fn into_text(self) -> Arc<str> {
        Arc::clone(self)
    }
}

impl EmbedRequest {
    /// A request for texts in one role, of anything that is a text: `["a", "b"]`, a `Vec<String>` or a reference to
    /// one, slices of `Arc<str>`, which are shared and not copied.
    pub fn new<T: IntoText>(texts: impl IntoIterator<Item = T>, role: Role) -> Self {
        Self {
            texts: texts.into_iter().map(IntoText::into_text).collect(),
            role,
            truncation: Truncation::default(),
            partition: None,
            deadline: None,
            route: None,
            trace: TraceContext::new(),
        }
    }

    /// Sets what to do with a text that is too long.
    #[must_use]
    pub fn with_truncation(mut self, truncation: Truncation) -> Self {
        self.truncation = truncation;
        self
    }

    /// Names the collection or tenant that the texts belong to: what must stay in one space.
    #[must_use]
    pub fn with_partition(mut self, partition: impl Into<Arc<str>>) -> Self {
        self.partition = Some(partition.into());
        self
    }

    /// Sets when the caller stops waiting. What isn't there by then is an error of kind
    /// [`Timeout`](ErrorKind::Timeout).
    #[must_use]
    pub fn with_deadline(mut self, deadline: Instant) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Asks for one route of a router by its name (`ollama`, `e5`), whatever the texts are. Services that have
    /// no routes don't look at it.
    #[must_use]
    pub fn with_route(mut self, route: impl Into<Arc<str>>) -> Self {
        self.route = Some(route.into());
        self
    }

    /// Names the trace that the request belongs to, and its id, for services that carry them on.
    #[must_use]
    pub fn with_trace(mut self, trace: TraceContext) -> Self {
        self.trace = trace;
        self
    }

    /// The same request for no route in particular: what a router sends on, since the name was for it.
    #[must_use]
    pub fn without_route(mut self) -> Self {
        self.route = None;
        self
    }

    /// The same request for other texts: what a decorator sends on for a part of the rows.
    #[must_use]
    pub fn with_texts(&self, texts: impl IntoIterator<Item = Arc<str>>) -> Self {
        Self { texts: texts.into_iter().collect(), ..self.clone() }
    }

    /// The texts, in the order in which the response has its rows.
    #[must_use]
    pub fn texts(&self) -> &[Arc<str>] {
        &self.texts
    }

    /// The texts, shared.
    #[must_use]
    pub fn shared_texts(&self) -> Arc<[Arc<str>]> {
        Arc::clone(&self.texts)
    }

    /// What the texts are for.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// What to do with a text that is too long.
    #[must_use]
    pub fn truncation(&self) -> Truncation {
        self.truncation
    }

    /// The collection or tenant.
    #[must_use]
    pub fn partition(&self) -> Option<&str> {
        self.partition.as_deref()
    }

    /// When the caller stops waiting.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// The route that was asked for.
    #[must_use]
    pub fn route(&self) -> Option<&str> {
        self.route.as_deref()
    }

    /// The trace that the request belongs to, and its id.
    #[must_use]
    pub fn trace(&self) -> &TraceContext {
        &self.trace
    }
}

/// Counts and settings, never the texts: a request ends up in logs.
impl fmt::Debug for EmbedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbedRequest")
            .field("texts", &self.texts.len())
            .field("bytes", &self.texts.iter().map(|text| text.len()).sum::<usize>())
            .field("role", &self.role)
            .field("truncation", &self.truncation)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

impl Role {
    /// The role as one lower-case word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::Document => "document",
        }
    }
}

impl Truncation {
    /// All policies.
    pub const ALL: [Self; 4] = [Self::Error, Self::End, Self::Start, Self::ChunkMean];

    /// The policy in kebab case: `error`, `end`, `start`, `chunk-mean`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::End => "end",
            Self::Start => "start",
            Self::ChunkMean => "chunk-mean",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Truncation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        [Self::Query, Self::Document]
            .into_iter()
            .find(|role| role.as_str() == name)
            .ok_or_else(|| Error::new(ErrorKind::Config, "a role is one of query, document"))
    }
}

impl FromStr for Truncation {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|policy| policy.as_str() == name).ok_or_else(|| {
            Error::new(ErrorKind::Config, "a truncation is one of error, end, start, chunk-mean")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_text() {
        let request = EmbedRequest::new(["my secret"], Role::Query).with_partition("tenant-7");
        let debug = format!("{request:?}");
        assert!(debug.contains("bytes: 9") && !debug.contains("secret"), "{debug}");
    }

    #[test]
    #[expect(clippy::needless_borrows_for_generic_args, reason = "callers write it so")]
    fn strings_of_every_kind_are_texts() {
        fn texts<T: IntoText>(texts: impl IntoIterator<Item = T>) -> Arc<[Arc<str>]> {
            EmbedRequest::new(texts, Role::Query).shared_texts()
        }
        let strings = vec!["one".to_owned(), "two".to_owned()];
        let shared = texts(&strings);
        assert_eq!(*shared, ["one".into(), "two".into()]);
        assert_eq!(texts(strings.iter().map(String::as_str)), shared);
        assert_eq!(texts(strings), shared);
        assert_eq!(texts(["one", "two"]), shared);
        assert_eq!(texts(&["one", "two"]), shared);
        assert_eq!(texts([Cow::from("one"), Cow::from("two".to_owned())]), shared);
        let again = texts(&*shared);
        assert!(Arc::ptr_eq(&again[0], &shared[0]), "shared, not copied");
    }

    #[test]
    fn other_texts_keep_the_settings() {
        let deadline = Instant::now();
        let request = EmbedRequest::new(["one"], Role::Query)
            .with_partition("tenant-7")
            .with_deadline(deadline)
            .with_route("e5")
            .with_trace(TraceContext::new().with_request_id("42"))
            .with_texts(["two".into(), "three".into()]);
        assert_eq!(request.texts().len(), 2);
        assert_eq!(request.partition(), Some("tenant-7"));
        assert_eq!(request.deadline(), Some(deadline));
        assert_eq!(request.route(), Some("e5"));
        assert_eq!(request.trace().request_id(), Some("42"));
        assert_eq!(request.without_route().route(), None);
    }

    #[test]
    fn names_parse_back() {
        for policy in Truncation::ALL {
            assert_eq!(policy.as_str().parse::<Truncation>().unwrap(), policy);
            assert_eq!(serde_json::to_value(policy).unwrap(), policy.as_str());
        }
        assert_eq!("queries".parse::<Role>().unwrap_err().kind(), ErrorKind::Config);
    }
}
