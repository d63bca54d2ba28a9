//! What the engine needs from outside: a model that runs batches, and a tokenizer that works in steps.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use embed_core::{Error, ErrorKind, Role, Truncation};

use crate::tokenizer::TokenisedText;

/// A model that one thread uses at a time.
pub(crate) trait EngineModel: Send {
    /// One vector for each window, in order: its token vectors pooled, not normalised.
    fn run(&mut self, batch: &Ragged<'_>) -> Result<Vec<Vec<f32>>, Error>;

    /// Whether several windows can share a run and get the same vectors as alone. If not, each runs alone.
    fn ragged(&self) -> bool;
}

/// Windows of any lengths, without padding: each has the ids of a text or a part of it, special tokens included.
#[derive(Debug)]
pub(crate) struct Ragged<'a> {
    pub(crate) windows: Vec<&'a [u32]>,
}

impl Ragged<'_> {
    /// Tokens of all windows.
    pub(crate) fn tokens(&self) -> usize {
        self.windows.iter().map(|window| window.len()).sum()
    }
}

/// A tokenizer that works in steps, so that a long text doesn't occupy a thread.
pub(crate) trait Tokenise: Send + Sync + 'static {
    /// A text between two steps.
    type Text: Send;

    /// Begins a text, with cheap checks only.
    fn begin(&self, text: Arc<str>, role: Role, truncation: Truncation) -> Result<Self::Text, Error>;

    /// Reads about this many more bytes; returns the tokens once it is done.
    fn advance(&self, text: &mut Self::Text, bytes: usize) -> Result<Option<TokenisedText>, Error>;
}

/// Why some work failed.
#[derive(Debug)]
pub(super) enum WorkFailure {
    /// It returned an error; the model can be used again.
    Failed(Error),
    /// It panicked, so the state of the model can't be trusted.
    Panicked,
}

/// Runs work that may panic.
pub(super) fn caught<T>(work: impl FnOnce() -> Result<T, Error>) -> Result<T, WorkFailure> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| WorkFailure::Panicked)?.map_err(WorkFailure::Failed)
}

impl WorkFailure {
    /// The error for the caller of the text.
    pub(super) fn into_error(self) -> Error {
        match self {
            Self::Failed(error) => error,
            Self::Panicked => panicked(),
        }
    }
}

/// The error for the caller of a text on which a worker panicked.
pub(super) fn panicked() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "a worker of the engine panicked on this text; its model is opened anew",
    )
    .temporary()
}
