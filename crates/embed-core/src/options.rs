//! How texts are to be embedded: the options of a request.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Deadline, Error, ErrorKind, TraceContext};

/// How texts are to be embedded. Many requests may share one; cheap to clone.
///
/// ```
/// use embed_core::{EmbedOptions, EmbedRequest, Role, Truncation};
///
/// let options = EmbedOptions::new(Role::Document).with_truncation(Truncation::End).with_partition("tenant-7");
/// let requests = [["one", "two"], ["three", "four"]].map(|texts| EmbedRequest::new(texts, &options));
/// assert_eq!(requests[1].partition(), Some("tenant-7"));
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct EmbedOptions {
    role: Role,
    truncation: Truncation,
    partition: Option<Arc<str>>,
    deadline: Deadline,
    route: Option<Arc<str>>,
    trace: TraceContext,
}

/// What a text is for. Models with prefixes (E5) give the same words different vectors as a query and as a document;
/// the role chooses the prefix, which callers never write into the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// A text to search with.
    Query,
    /// A text to be found.
    Document,
}

/// What to do with a text that is too long for the model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Truncation {
    /// The row is an error of kind [`InputTooLong`](ErrorKind::InputTooLong). The default, because nobody notices
    /// that the vector of a cut text is wrong.
    #[default]
    Error,
    /// Drop the end: embed the first tokens.
    End,
    /// Drop the start: embed the last tokens.
    Start,
    /// Embed the whole text in consecutive chunks that don't overlap, and take the mean of their vectors. The row
    /// counts as not cut.
    ///
    /// The rule is the same for every service: for chunks with the vectors *v₁ … vₙ* and *t₁ … tₙ* tokens of the text
    /// (without special tokens and prefix) the vector is *s*/|*s*| with *s* = *t₁*·*v₁*/|*v₁*| + … + *tₙ*·*vₙ*/|*vₙ*|,
    /// summed in this order in `f64`: [`vector::ChunkMean`](crate::vector::ChunkMean). Each chunk has the role's prefix.
    /// Fewer dimensions are cut from the mean, not from the chunks. A text that fits the model is one chunk, and has the
    /// same vector under every policy.
    ///
    /// *Where* a text is split depends on the service: with a tokenizer it makes as few chunks as possible, of equal
    /// size in tokens; with only a server's counts it repeatedly takes the longest piece that fits, cut between words.
    /// Without counts, a chunk is weighted by its bytes.
    ChunkMean,
}

impl EmbedOptions {
    /// Options for texts in one role: no text is cut, no deadline, no particular route.
    #[must_use]
    pub fn new(role: Role) -> Self {
        Self {
            role,
            truncation: Truncation::default(),
            partition: None,
            deadline: Deadline::NONE,
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

    /// Names the collection or tenant that the texts belong to, whose vectors must stay in one space.
    #[must_use]
    pub fn with_partition(mut self, partition: impl Into<Arc<str>>) -> Self {
        self.partition = Some(partition.into());
        self
    }

    /// Sets when the caller stops waiting. Whatever isn't done by then is an error of kind
    /// [`Timeout`](ErrorKind::Timeout).
    #[must_use]
    pub fn with_deadline(mut self, deadline: impl Into<Deadline>) -> Self {
        self.deadline = deadline.into();
        self
    }

    /// Chooses a route of a router by its name (`ollama`, `e5`), whatever the texts are. Services without routes
    /// ignore it.
    #[must_use]
    pub fn with_route(mut self, route: impl Into<Arc<str>>) -> Self {
        self.route = Some(route.into());
        self
    }

    /// The same options without a route: what a router passes to the route that was chosen.
    #[must_use]
    pub fn without_route(mut self) -> Self {
        self.route = None;
        self
    }

    /// Sets the trace that the request belongs to, and its id, for services that propagate them.
    #[must_use]
    pub fn with_trace(mut self, trace: TraceContext) -> Self {
        self.trace = trace;
        self
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
    pub fn deadline(&self) -> Deadline {
        self.deadline
    }

    /// The requested route.
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

impl From<Role> for EmbedOptions {
    fn from(role: Role) -> Self {
        Self::new(role)
    }
}

impl From<&Self> for EmbedOptions {
    fn from(options: &Self) -> Self {
        options.clone()
    }
}

impl Role {
    /// The role in lower case.
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
            .ok_or_else(|| Error::new(ErrorKind::InvalidInput, "a role is one of query, document"))
    }
}

impl FromStr for Truncation {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|policy| policy.as_str() == name).ok_or_else(|| {
            Error::new(ErrorKind::InvalidInput, "a truncation is one of error, end, start, chunk-mean")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_back() {
        for policy in Truncation::ALL {
            assert_eq!(policy.as_str().parse::<Truncation>().unwrap(), policy);
            assert_eq!(serde_json::to_value(policy).unwrap(), policy.as_str());
        }
        assert_eq!("queries".parse::<Role>().unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}
