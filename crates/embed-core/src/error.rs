//! The one error type: what went wrong ([`ErrorKind`]), why, and whether to retry ([`Retry`]).

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of an embedding service.
///
/// It is one pointer wide and cheap to clone, because one failure may be the answer for many rows and many
/// waiting callers. It never holds a user's text, only lengths and digests.
///
/// `Display` gives the message and its context, not the source; print the chain of
/// [`source`](std::error::Error::source) for the rest.
#[derive(Clone)]
pub struct Error {
    inner: Arc<Inner>,
}

/// What went wrong, for branching and for labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The input can't be embedded: it is empty, or not a text.
    InvalidInput,
    /// The text is too long for the model, and the request says not to cut it.
    InputTooLong,
    /// The service doesn't have the model.
    ModelNotFound,
    /// A vector doesn't have the dimension of its model.
    DimensionMismatch,
    /// Vectors of different spaces were to be compared or combined.
    SpaceMismatch,
    /// The service rejects the caller's credentials, or there are none.
    Unauthorized,
    /// The caller sends too many requests.
    RateLimited,
    /// The service has too much to do.
    Overloaded,
    /// The deadline has passed.
    Timeout,
    /// The service doesn't answer, or a part of it died.
    Unavailable,
    /// The service's answer violates its protocol.
    Protocol,
    /// A setting, a file or the environment is wrong.
    Config,
    /// A bug in this software.
    Internal,
}

/// Whether the same request may succeed later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// No: the same request would fail again.
    Permanent,
    /// Yes, it may.
    Temporary {
        /// How long to wait before a retry, if the service said so.
        after: Option<Duration>,
    },
    /// It was temporary, but all retries failed. Don't retry, or an outer retry multiplies the inner ones.
    Exhausted,
}

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    retry: Retry,
    message: String,
    context: Vec<(&'static str, String)>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    /// A [permanent](Retry::Permanent) error. The message is one sentence without a full stop that says what is
    /// wrong and, if there is one, the fix.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let inner = Inner {
            kind,
            retry: Retry::Permanent,
            message: message.into(),
            context: Vec::new(),
            source: None,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Marks the error as temporary: the same request may succeed later.
    #[must_use]
    pub fn temporary(self) -> Self {
        self.with_retry(Retry::Temporary { after: None })
    }

    /// Sets whether to retry.
    #[must_use]
    pub fn with_retry(mut self, retry: Retry) -> Self {
        Arc::make_mut(&mut self.inner).retry = retry;
        self
    }

    /// Adds a fact: a path, a length, a status. Never a user's text.
    #[must_use]
    pub fn with_context(mut self, name: &'static str, value: impl fmt::Display) -> Self {
        Arc::make_mut(&mut self.inner).context.push((name, value.to_string()));
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        Arc::make_mut(&mut self.inner).source = Some(Arc::new(source));
        self
    }

    /// What went wrong.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// Whether to retry.
    #[must_use]
    pub fn retry(&self) -> Retry {
        self.inner.retry
    }

    /// Whether the same request may succeed later.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        matches!(self.inner.retry, Retry::Temporary { .. })
    }

    /// What went wrong in one sentence, without the added facts.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.inner.message
    }

    /// The added facts, in order.
    pub fn context(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.inner.context.iter().map(|(name, value)| (*name, value.as_str()))
    }
}

// By hand: `thiserror` would return the `Arc` around the source, which can't be downcast to the source's type.
impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.inner.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.inner, f)
    }
}

impl fmt::Display for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        for (i, (name, value)) in self.context.iter().enumerate() {
            write!(f, "{}{name}: {value}", if i == 0 { " (" } else { ", " })?;
        }
        if self.context.is_empty() { Ok(()) } else { f.write_str(")") }
    }
}

/// One line for people: the `Display` form, the kind, whether to retry, and the causes. This is what is printed for an
/// error that `main` returns.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} [{}", self.inner.kind)?;
        match self.inner.retry {
            Retry::Permanent => {}
            Retry::Temporary { after: None } => f.write_str(", temporary")?,
            Retry::Temporary { after: Some(after) } => write!(f, ", temporary, again after {after:?}")?,
            Retry::Exhausted => f.write_str(", all tries failed")?,
        }
        f.write_str("]")?;
        let mut cause = StdError::source(self);
        while let Some(error) = cause {
            write!(f, ", caused by: {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl ErrorKind {
    /// The kind in snake case, for labels and JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidInput => "invalid_input",
            Self::InputTooLong => "input_too_long",
            Self::ModelNotFound => "model_not_found",
            Self::DimensionMismatch => "dimension_mismatch",
            Self::SpaceMismatch => "space_mismatch",
            Self::Unauthorized => "unauthorized",
            Self::RateLimited => "rate_limited",
            Self::Overloaded => "overloaded",
            Self::Timeout => "timeout",
            Self::Unavailable => "unavailable",
            Self::Protocol => "protocol",
            Self::Config => "config",
            Self::Internal => "internal",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_has_the_context_and_not_the_source() {
        let error = Error::new(ErrorKind::Config, "the model file is corrupt")
            .with_context("file", "model.onnx")
            .with_context("bytes", 12)
            .with_source(std::io::Error::other("hidden"));
        assert_eq!(error.to_string(), "the model file is corrupt (file: model.onnx, bytes: 12)");
        assert_eq!(error.message(), "the model file is corrupt");
        let source = StdError::source(&error).unwrap();
        assert_eq!(source.downcast_ref::<std::io::Error>().unwrap().to_string(), "hidden");
    }

    #[test]
    fn what_main_prints_reads_well() {
        let error = Error::new(ErrorKind::Unavailable, "the server is gone")
            .with_context("server", "127.0.0.1:1")
            .with_source(
                Error::new(ErrorKind::Timeout, "no answer").with_source(std::io::Error::other("reset")),
            );
        assert_eq!(
            format!("{error:?}"),
            "the server is gone (server: 127.0.0.1:1) [unavailable], caused by: no answer, caused by: reset"
        );
        assert_eq!(format!("{:?}", error.temporary()).matches("[unavailable, temporary]").count(), 1);
        let error = Error::new(ErrorKind::Config, "no").with_retry(Retry::Exhausted);
        assert_eq!(format!("{error:#?}"), "no [config, all tries failed]");
    }

    #[test]
    fn a_clone_is_changed_alone() {
        let first = Error::new(ErrorKind::Timeout, "too slow");
        let second = first.clone().temporary();
        assert_eq!(first.retry(), Retry::Permanent);
        assert!(second.is_temporary());
    }

    #[test]
    fn an_error_is_one_pointer_and_crosses_threads() {
        fn crosses_threads<T: Send + Sync + 'static>() {}
        crosses_threads::<Error>();
        assert_eq!(size_of::<Error>(), size_of::<usize>());
    }
}
