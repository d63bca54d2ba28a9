//! What a protocol says: how one request is sent, and what a failure means.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use embed_core::{Error, ModelInfo, Role, TraceContext};

use crate::failure::{Failure, Refusal};
use crate::rows::Reply;
use crate::seen::RowFault;
use crate::settings::CallSettings;
use crate::stats::Counters;

/// The servers of a model, as a [`Call`](crate::Call) needs them.
pub trait Backend: fmt::Debug + Send + Sync + 'static {
    /// How calls go about their texts.
    fn settings(&self) -> &CallSettings;

    /// What is counted.
    fn stats(&self) -> &Counters;

    /// How many servers there are.
    fn servers(&self) -> usize;

    /// What is known of any server, for planning.
    fn facts(&self) -> Option<Arc<Facts>>;

    /// The bytes of text and the texts that one request may hold: those of the settings, or fewer where the servers showed
    /// that they take no more.
    fn batch_limits(&self) -> (usize, usize) {
        (self.settings().max_batch_bytes, self.settings().max_batch_rows)
    }

    /// Sends the texts of one request to a server, another one than `avoid` if that can be.
    fn embed(
        &self,
        sending: Sending<'_>,
        avoid: Option<usize>,
    ) -> impl Future<Output = Result<Answered, Attempt>> + Send;

    /// Whether another server than this one could be asked now.
    fn has_other(&self, avoid: usize) -> bool;

    /// How long until a server may be asked again, if none may be now.
    fn until_any(&self) -> Duration;

    /// What rows mean that are no vectors of the model.
    fn rows_failure(&self, fault: RowFault, facts: &Facts) -> Failure;

    /// Whether an error that this back end gave is about the text, and not about the service.
    fn is_about_text(&self, error: &Error) -> bool;
}

/// What is known of a server: what its rows are, and how it goes about a text's length.
#[derive(Debug, Clone)]
pub struct Facts {
    /// What its rows are; the same for all servers in service at one time.
    pub info: ModelInfo,
    /// Tokens that the model reads at most, the special ones included.
    pub limit: Option<usize>,
    /// Special tokens that are put around a text.
    pub specials: usize,
    /// Whether several texts may go in one request.
    pub batches: bool,
    /// Whether every text that is too long is refused, and none is cut in silence.
    pub refuses_long: bool,
    /// What its count of tokens counts.
    pub counting: Counting,
    /// Send every text that may be too long alone, where it is to be cut: a text in a batch is refused with all others.
    pub fits_alone: bool,
}

/// What a server's count of tokens counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counting {
    /// Nothing that can be relied on.
    Unknown,
    /// The text without the special tokens.
    TextOnly,
    /// The text and the special tokens.
    WithSpecials,
}

/// Texts on their way to a server.
#[derive(Debug, Clone, Copy)]
pub struct Sending<'a> {
    /// What one request is to hold.
    pub texts: &'a [&'a str],
    /// What they are for; `None` if nobody asked for them.
    pub role: Option<Role>,
    /// How long their answer is waited for.
    pub patience: Patience,
    /// Of the caller whose texts they are.
    pub trace: &'a TraceContext,
}

/// How patient a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// The request timeout.
    Usual,
    /// Four times that: the second try after a silence.
    More,
}

/// An answer, and what is known of the server that gave it.
#[derive(Debug)]
pub struct Answered {
    /// Its rows.
    pub reply: Reply,
    /// The server's facts when it answered.
    pub facts: Arc<Facts>,
}

/// A request that failed at a server, which the next try may leave out.
#[derive(Debug)]
pub struct Attempt {
    /// Why.
    pub refusal: Refusal,
    /// The server's place; `None` if none was asked.
    pub server: Option<usize>,
}

impl<'a> Sending<'a> {
    /// Texts that no caller sent.
    #[must_use]
    pub fn of_client(texts: &'a [&'a str]) -> Self {
        static NO_TRACE: TraceContext = TraceContext::new();
        Self { texts, role: None, patience: Patience::Usual, trace: &NO_TRACE }
    }
}

impl Facts {
    /// Tokens with the special ones, out of what the server counts. No text has none: a server that says 0 didn't count.
    #[must_use]
    pub fn count(&self, tokens: usize) -> Option<usize> {
        if tokens == 0 {
            return None;
        }
        match self.counting {
            Counting::Unknown => None,
            Counting::TextOnly => Some(tokens + self.specials),
            Counting::WithSpecials => Some(tokens),
        }
    }
}
