//! What the engine needs from the outside: a model that runs batches, and a tokenizer that works in steps.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use embed_core::{Error, ErrorKind, Role, Truncation};

use crate::tokenizer::TokenisedText;

/// A model that one thread uses at a time.
pub(crate) trait EngineModel: Send {
    /// One vector for each window, in order: the mean of its token vectors, not normalised.
    fn run(&mut self, batch: &Ragged<'_>) -> Result<Vec<Vec<f32>>, Error>;

    /// Whether several windows may share a run, in which each has the same vector as alone. If not, each runs alone.
    fn ragged(&self) -> bool;
}

/// Windows of any lengths, without padding: each the ids of one text or part of it, special tokens included.
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

/// A tokenizer that takes a text a step at a time, so that a long one holds no thread.
pub(crate) trait Tokenise: Send + Sync + 'static {
    /// A text between two steps.
    type Text: Send;

    /// Begins a text: cheap checks only.
    fn begin(&self, text: Arc<str>, role: Role, truncation: Truncation) -> Result<Self::Text, Error>;

    /// Takes about so many bytes more; the tokens once it is done.
    fn advance(&self, text: &mut Self::Text, bytes: usize) -> Result<Option<TokenisedText>, Error>;
}

/// Why something isn't there.
#[derive(Debug)]
pub(super) enum WorkFailure {
    /// It failed, and may be used again.
    Failed(Error),
    /// It panicked: what that left behind can't be trusted.
    Panicked,
}

/// Does what may panic.
pub(super) fn caught<T>(work: impl FnOnce() -> Result<T, Error>) -> Result<T, WorkFailure> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| WorkFailure::Panicked)?.map_err(WorkFailure::Failed)
}

impl WorkFailure {
    /// What the caller of a text is told.
    pub(super) fn into_error(self) -> Error {
        match self {
            Self::Failed(error) => error,
            Self::Panicked => panicked(),
        }
    }
}

/// What the caller of a text is told on which a worker panicked.
pub(super) fn panicked() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "a worker of the engine panicked on this text; its model is opened anew",
    )
    .temporary()
}
