//! A call, its texts, and the pieces of which their vectors are made.
//!
//! A text has one window or several. Each window is a separate [`Piece`] of work; the results of the pieces of a text are
//! summed in the order of the windows, whatever order they come in.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use embed_core::vector::{self, ChunkMean};
use embed_core::{Deadline, EmbedRequest, Error, Normalisation, Role, TokenCount, Truncation};
use futures::channel::oneshot;

use super::model::panicked;
use crate::stats::Counters;
use crate::tokenizer::TokenisedText;

/// The vector of a text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct EngineRow {
    pub(crate) vector: Vec<f32>,
    pub(crate) tokens: TokenCount,
}

/// One of the models that share an engine's workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ModelId(pub(super) u64);

/// A call: its texts and, one by one, their rows.
pub(crate) struct EngineCall {
    pub(super) model: ModelId,
    pub(super) texts: Arc<[Arc<str>]>,
    pub(super) role: Role,
    pub(super) truncation: Truncation,
    pub(super) deadline: Deadline,
    normalisation: Normalisation,
    counters: Arc<Counters>,
    over: AtomicBool,
    answers: Mutex<PendingRows>,
}

struct PendingRows {
    rows: Vec<Option<Result<EngineRow, Error>>>,
    missing: usize,
    done: Option<oneshot::Sender<()>>,
}

/// A text that the engine works on. Its row is answered exactly once, at the latest when this is dropped.
#[derive(Debug)]
pub(crate) struct TextSlot {
    call: Arc<EngineCall>,
    place: usize,
    answered: bool,
}

/// A text that is not tokenised yet, or only in part.
#[derive(Debug)]
pub(crate) struct Untokenised<S> {
    pub(super) slot: TextSlot,
    pub(super) state: Option<S>,
}

/// A window of a text, which a model runs.
pub(crate) struct Piece {
    text: Arc<Sum>,
    window: usize,
    pub(super) ids: Vec<u32>,
    weight: usize,
    /// Whether it must run alone, because it failed in a shared run.
    pub(super) solo: bool,
}

/// A text whose windows are being run.
struct Sum {
    call: Arc<EngineCall>,
    tokens: TokenCount,
    through_the_model: usize,
    windows: usize,
    state: Mutex<SumState>,
}

struct SumState {
    /// `None` once the row is answered.
    slot: Option<TextSlot>,
    /// The mean of the windows before `next`.
    mean: ChunkMean,
    next: usize,
    /// Later windows that have come in already, with their weights.
    early: BTreeMap<usize, (Vec<f32>, usize)>,
}

impl EngineCall {
    /// A call, and a receiver that resolves when no row is waited for any more.
    pub(crate) fn new(
        request: &EmbedRequest,
        model: ModelId,
        normalisation: Normalisation,
        counters: &Arc<Counters>,
    ) -> (Arc<Self>, oneshot::Receiver<()>) {
        let texts = request.shared_texts();
        let (sender, done) = oneshot::channel();
        let missing = texts.len();
        // Without texts, the sender is dropped at once, which has the same effect.
        let answers =
            PendingRows { rows: vec![None; missing], missing, done: (missing > 0).then_some(sender) };
        let call = Self {
            model,
            texts,
            role: request.role(),
            truncation: request.truncation(),
            deadline: request.deadline(),
            normalisation,
            counters: Arc::clone(counters),
            over: AtomicBool::new(false),
            answers: Mutex::new(answers),
        };
        (Arc::new(call), done)
    }

    /// Whether nobody waits for its rows any more.
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Ends the call: nobody waits for the missing rows any more.
    pub(crate) fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
        let done = self.answers().done.take();
        wake(done);
    }

    /// As [`end`](Self::end), with an error for each missing row.
    pub(crate) fn fail(&self, error: &Error) {
        let mut answers = self.answers();
        for row in answers.rows.iter_mut().filter(|row| row.is_none()) {
            *row = Some(Err(error.clone()));
        }
        drop(answers);
        self.end();
    }

    /// The rows; `None` for those that are missing.
    pub(crate) fn take_rows(&self) -> Vec<Option<Result<EngineRow, Error>>> {
        std::mem::take(&mut self.answers().rows)
    }

    /// Sets a row, once. A row that its caller has already given up is discarded.
    fn answer(&self, place: usize, row: Result<EngineRow, Error>) {
        let mut answers = self.answers();
        let Some(slot @ None) = answers.rows.get_mut(place) else { return };
        *slot = Some(row);
        answers.missing -= 1;
        let done = if answers.missing == 0 { answers.done.take() } else { None };
        drop(answers);
        wake(done);
    }

    fn answers(&self) -> MutexGuard<'_, PendingRows> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes a caller. No lock may be held, since a waker may run anything, and may panic.
fn wake(done: Option<oneshot::Sender<()>>) {
    if let Some(done) = done {
        // The receiver may be gone; then nobody waits.
        let _ = catch_unwind(AssertUnwindSafe(|| done.send(())));
    }
}

impl TextSlot {
    pub(super) fn new(call: &Arc<EngineCall>, place: usize) -> Self {
        Self { call: Arc::clone(call), place, answered: false }
    }

    pub(super) fn call(&self) -> &Arc<EngineCall> {
        &self.call
    }

    pub(super) fn text(&self) -> &Arc<str> {
        &self.call.texts[self.place]
    }

    pub(super) fn answer(mut self, row: Result<EngineRow, Error>) {
        self.answered = true;
        self.call.answer(self.place, row);
    }
}

impl Drop for TextSlot {
    fn drop(&mut self) {
        if !self.answered && !self.call.is_over() {
            self.call.answer(self.place, Err(panicked()));
        }
    }
}

/// The pieces of a text, in order.
pub(super) fn pieces(slot: TextSlot, text: TokenisedText) -> Vec<Piece> {
    let sum = Arc::new(Sum {
        call: Arc::clone(slot.call()),
        tokens: text.tokens,
        through_the_model: text.windows.iter().map(|window| window.ids.len()).sum(),
        windows: text.windows.len(),
        state: Mutex::new(SumState {
            slot: Some(slot),
            mean: ChunkMean::default(),
            next: 0,
            early: BTreeMap::new(),
        }),
    });
    let piece = |(number, window): (usize, crate::tokenizer::Window)| Piece {
        text: Arc::clone(&sum),
        window: number,
        ids: window.ids,
        weight: window.weight,
        solo: false,
    };
    text.windows.into_iter().enumerate().map(piece).collect()
}

impl Piece {
    pub(super) fn call(&self) -> &Arc<EngineCall> {
        &self.text.call
    }

    pub(super) fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// Whether it is the only window of its text.
    pub(super) fn is_whole_text(&self) -> bool {
        self.text.windows == 1
    }

    /// Whether it isn't needed any more, because another window of its text failed.
    pub(super) fn is_void(&self) -> bool {
        self.text.state().slot.is_none()
    }

    /// The index of its text, if that is still waited for, and of the window in the text.
    #[cfg(test)]
    pub(super) fn place(&self) -> (Option<usize>, usize) {
        (self.text.state().slot.as_ref().map(|slot| slot.place), self.window)
    }

    /// Adds its result to its text, which is answered with the last window or the first error.
    pub(super) fn answer(self, mean: Result<Vec<f32>, Error>) {
        let Self { text, window, weight, .. } = self;
        let vector = match mean {
            Ok(mut mean) if text.windows == 1 => {
                if text.call.normalisation == Normalisation::L2 {
                    vector::normalise(&mut mean);
                }
                Ok(mean)
            }
            Ok(mean) => match text.state().add(window, mean, weight) {
                Ok(state) if state.next == text.windows => Ok(std::mem::take(&mut state.mean).finish()),
                Ok(_) => return,
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        };
        text.finish(vector);
    }
}

impl Sum {
    /// Answers the text, with the last window or the first error.
    fn finish(&self, vector: Result<Vec<f32>, Error>) {
        let slot = self.state().slot.take();
        let Some(slot) = slot else { return };
        let row = vector.map(|vector| {
            self.call.counters.text(slot.text(), self.through_the_model, self.tokens);
            EngineRow { vector, tokens: self.tokens }
        });
        slot.answer(row);
    }

    fn state(&self) -> MutexGuard<'_, SumState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SumState {
    /// Adds a window, in order: an early one waits for those before it.
    fn add(&mut self, window: usize, vector: Vec<f32>, weight: usize) -> Result<&mut Self, Error> {
        self.early.insert(window, (vector, weight));
        while let Some((vector, weight)) = self.early.remove(&self.next) {
            self.mean.add(&vector, weight)?;
            self.next += 1;
        }
        Ok(self)
    }
}

impl fmt::Debug for EngineCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineCall").field("texts", &self.texts.len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Piece").field("tokens", &self.ids.len()).finish_non_exhaustive()
    }
}
