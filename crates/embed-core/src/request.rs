//! Requests to an embedding service.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use crate::{Deadline, EmbedOptions, Role, TraceContext, Truncation};

/// Texts to embed, and how. Owned and cheap to clone, so that it can be retried, split and moved to another thread.
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
    options: EmbedOptions,
}

/// What [`EmbedRequest::new`] takes for a text: strings of every kind, owned or borrowed.
pub trait IntoText {
    /// The text: shared if it is an `Arc<str>`, else copied.
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
    /// A request for texts in a role, or with [options](EmbedOptions). The texts may be any strings: `["a", "b"]`, a
    /// `Vec<String>` or a reference to one, or slices of `Arc<str>`, which are shared and not copied.
    pub fn new<T: IntoText>(texts: impl IntoIterator<Item = T>, options: impl Into<EmbedOptions>) -> Self {
        Self { texts: texts.into_iter().map(IntoText::into_text).collect(), options: options.into() }
    }

    /// See [`EmbedOptions::with_truncation`].
    #[must_use]
    pub fn with_truncation(self, truncation: Truncation) -> Self {
        self.map(|options| options.with_truncation(truncation))
    }

    /// See [`EmbedOptions::with_partition`].
    #[must_use]
    pub fn with_partition(self, partition: impl Into<Arc<str>>) -> Self {
        self.map(|options| options.with_partition(partition))
    }

    /// See [`EmbedOptions::with_deadline`].
    #[must_use]
    pub fn with_deadline(self, deadline: impl Into<Deadline>) -> Self {
        self.map(|options| options.with_deadline(deadline))
    }

    /// See [`EmbedOptions::with_route`].
    #[must_use]
    pub fn with_route(self, route: impl Into<Arc<str>>) -> Self {
        self.map(|options| options.with_route(route))
    }

    /// See [`EmbedOptions::without_route`].
    #[must_use]
    pub fn without_route(self) -> Self {
        self.map(EmbedOptions::without_route)
    }

    /// See [`EmbedOptions::with_trace`].
    #[must_use]
    pub fn with_trace(self, trace: TraceContext) -> Self {
        self.map(|options| options.with_trace(trace))
    }

    fn map(self, change: impl FnOnce(EmbedOptions) -> EmbedOptions) -> Self {
        Self { options: change(self.options), ..self }
    }

    /// The same request for other texts: what a decorator passes on for some of the rows.
    #[must_use]
    pub fn with_texts(&self, texts: impl IntoIterator<Item = Arc<str>>) -> Self {
        Self::new(texts, &self.options)
    }

    /// The texts, in the order of the response's rows.
    #[must_use]
    pub fn texts(&self) -> &[Arc<str>] {
        &self.texts
    }

    /// The texts, shared.
    #[must_use]
    pub fn shared_texts(&self) -> Arc<[Arc<str>]> {
        Arc::clone(&self.texts)
    }

    /// How the texts are to be embedded.
    #[must_use]
    pub fn options(&self) -> &EmbedOptions {
        &self.options
    }

    /// See [`EmbedOptions::role`].
    #[must_use]
    pub fn role(&self) -> Role {
        self.options.role()
    }

    /// See [`EmbedOptions::truncation`].
    #[must_use]
    pub fn truncation(&self) -> Truncation {
        self.options.truncation()
    }

    /// See [`EmbedOptions::partition`].
    #[must_use]
    pub fn partition(&self) -> Option<&str> {
        self.options.partition()
    }

    /// See [`EmbedOptions::deadline`].
    #[must_use]
    pub fn deadline(&self) -> Deadline {
        self.options.deadline()
    }

    /// See [`EmbedOptions::route`].
    #[must_use]
    pub fn route(&self) -> Option<&str> {
        self.options.route()
    }

    /// See [`EmbedOptions::trace`].
    #[must_use]
    pub fn trace(&self) -> &TraceContext {
        self.options.trace()
    }
}

/// Shows counts and options, never the texts, because requests end up in logs.
impl fmt::Debug for EmbedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbedRequest")
            .field("texts", &self.texts.len())
            .field("bytes", &self.texts.iter().map(|text| text.len()).sum::<usize>())
            .field("role", &self.role())
            .field("truncation", &self.truncation())
            .field("deadline", &self.deadline())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

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
        assert_eq!(request.deadline(), Deadline::at(deadline));
        assert_eq!(request.route(), Some("e5"));
        assert_eq!(request.trace().request_id(), Some("42"));
        assert_eq!(request.without_route().route(), None);
    }
}
