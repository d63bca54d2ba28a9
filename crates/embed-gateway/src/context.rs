//! The context of a request for its handler, and the ids of requests.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use embed_core::{Deadline, EmbedOptions, Error, Role, TraceContext, Truncation};
use tokio::time::{Instant, sleep_until};

use crate::caller::Caller;

/// The id of a request, in its answer and in every log line about it. The caller may set it.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest id and the longest partition that are accepted.
pub(crate) const LONGEST_NAME: usize = 128;

/// What a handler knows about its request besides the body.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    pub(crate) caller: Caller,
    /// The name of the caller's key.
    pub(crate) key: Option<Arc<str>>,
    pub(crate) started: Instant,
    pub(crate) deadline: Instant,
    pub(crate) partition: Option<Arc<str>>,
    /// The trace context for calls of the stack.
    pub(crate) trace: TraceContext,
}

impl Context {
    /// The options of the caller's requests to the stack.
    pub(crate) fn options(&self, role: Role, truncation: Truncation) -> EmbedOptions {
        let options = EmbedOptions::new(role)
            .with_truncation(truncation)
            .with_deadline(self.deadline.into_std())
            .with_trace(self.trace.clone());
        match &self.partition {
            Some(partition) => options.with_partition(Arc::clone(partition)),
            None => options,
        }
    }

    /// The output of a call; an error if the caller's deadline passes first.
    pub(crate) async fn limit<T>(&self, call: impl Future<Output = T>) -> Result<T, Error> {
        let deadline = Deadline::at(self.deadline.into_std());
        deadline.limit(|at| sleep_until(at.into()), call).await.ok_or_else(late)
    }
}

/// The error for a deadline that passed before the answer.
pub(crate) fn late() -> Error {
    Deadline::missed("the deadline was over before the answer")
}

/// Generates ids that differ between processes.
#[derive(Debug)]
pub(crate) struct RequestIds {
    /// Different in each run.
    prefix: u64,
    last: AtomicU64,
}

impl RequestIds {
    pub(crate) fn new() -> Self {
        Self { prefix: RandomState::new().hash_one(std::process::id()), last: AtomicU64::new(0) }
    }

    /// The caller's id if it is valid, else a new one.
    pub(crate) fn of(&self, headers: &HeaderMap) -> HeaderValue {
        let given = headers.get(&REQUEST_ID).filter(|id| {
            id.len() <= LONGEST_NAME && !id.is_empty() && id.as_bytes().iter().all(u8::is_ascii_graphic)
        });
        given.cloned().unwrap_or_else(|| {
            let number = self.last.fetch_add(1, Ordering::Relaxed);
            HeaderValue::try_from(format!("{:016x}-{number:x}", self.prefix))
                .unwrap_or_else(|_| HeaderValue::from_static("-"))
        })
    }
}
