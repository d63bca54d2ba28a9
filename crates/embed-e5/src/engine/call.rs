//! One call: its texts, in which order they run, and the rows as they come in.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use embed_core::{EmbedRequest, Error, Role, TokenCount, Truncation};
use tokio::sync::oneshot;

use super::worker::{EncodeText, died};
use crate::tokenizer::TokenisedText;

/// A text of more bytes is not tokenised ahead: it has hardly fewer than a hundred tokens, and fills a run by itself.
const MAX_BYTES_AHEAD: usize = 1024;
/// Tokens of a call that lie ready: enough for a dozen of runs.
const TOKENS_AHEAD: usize = 4096;

/// What a worker makes of one text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RowOutput {
    pub(crate) vector: Vec<f32>,
    pub(crate) tokens: TokenCount,
}

pub(crate) struct Call {
    texts: Arc<[Arc<str>]>,
    role: Role,
    truncation: Truncation,
    waiting: Mutex<Waiting>,
    cancelled: AtomicBool,
    rows: Mutex<Rows>,
}

/// The texts that no worker has yet.
struct Waiting {
    /// Those that are tokenised.
    ready: VecDeque<(usize, TokenisedText)>,
    /// Those that aren't: the places of the texts, the shortest first, so that the next one is taken off the end.
    raw: Vec<usize>,
}

struct Rows {
    rows: Vec<Option<Result<RowOutput, Error>>>,
    missing: usize,
    done: Option<oneshot::Sender<()>>,
}

/// One text of a call, in the hands of a worker. If it is dropped without an answer, its row stays open,
/// so a worker always answers.
pub(crate) struct Task {
    call: Arc<Call>,
    place: usize,
    /// Its tokens, if they were made ahead.
    pub(crate) tokenised: Option<TokenisedText>,
}

impl Call {
    pub(crate) fn new(request: &EmbedRequest) -> Self {
        let texts = request.shared_texts();
        let mut raw: Vec<_> = (0..texts.len()).rev().collect();
        raw.sort_by_key(|&place| texts[place].len());
        let rows = Rows { rows: vec![None; texts.len()], missing: texts.len(), done: None };
        Self {
            texts,
            role: request.role(),
            truncation: request.truncation(),
            waiting: Mutex::new(Waiting { ready: VecDeque::new(), raw }),
            cancelled: AtomicBool::new(false),
            rows: Mutex::new(rows),
        }
    }

    /// Resolves when every row is there.
    pub(crate) fn done(&self) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        let mut rows = self.rows();
        if rows.missing > 0 {
            rows.done = Some(sender);
        }
        receiver
    }

    pub(crate) fn len(&self) -> usize {
        self.texts.len()
    }

    /// Texts that no worker has yet; none if nobody waits for them.
    pub(crate) fn left(&self) -> usize {
        let waiting = self.waiting();
        if self.is_cancelled() { 0 } else { waiting.ready.len() + waiting.raw.len() }
    }

    /// Tokenises short texts, so that those that fit a run can be found; at most as many tokens as there is room
    /// for, and the one text that fills it. A text that can't be tokenised has its answer then.
    pub(crate) fn look_ahead(&self, shared: &dyn EncodeText, room: &mut usize) {
        let mut waiting = self.waiting();
        let mut ready = waiting.ready.iter().map(|(_, text)| text.tokens.used).sum::<usize>();
        while *room > 0
            && ready < TOKENS_AHEAD
            && !self.is_cancelled()
            && let Some(place) = waiting.raw.pop_if(|place| self.texts[*place].len() <= MAX_BYTES_AHEAD)
        {
            match self.tokenise(place, shared) {
                Ok(text) => {
                    ready += text.tokens.used;
                    *room = room.saturating_sub(text.tokens.used);
                    waiting.ready.push_back((place, text));
                }
                Err(error) => self.answer(place, Err(error)),
            }
        }
    }

    /// The next text: the longest one.
    pub(crate) fn next_task(self: &Arc<Self>) -> Option<Task> {
        let mut waiting = self.waiting();
        if self.is_cancelled() {
            return None;
        }
        // What isn't tokenised is longer than what is as long as it is too long for that.
        let is_long = |place: &mut usize| self.texts[*place].len() > MAX_BYTES_AHEAD;
        let (place, tokenised) = match waiting.raw.pop_if(is_long) {
            Some(place) => (place, None),
            None => match waiting.ready.pop_front() {
                Some((place, text)) => (place, Some(text)),
                None => (waiting.raw.pop()?, None),
            },
        };
        Some(Task { call: Arc::clone(self), place, tokenised })
    }

    /// A text that lies ready and has no more tokens than there is room for: the longest such.
    pub(crate) fn next_task_within(self: &Arc<Self>, room: usize) -> Option<Task> {
        let mut waiting = self.waiting();
        if self.is_cancelled() {
            return None;
        }
        let fits = |text: &TokenisedText| text.only_window().is_some_and(|ids| ids.len() <= room);
        let index = waiting.ready.iter().position(|(_, text)| fits(text))?;
        let (place, text) = waiting.ready.remove(index)?;
        Some(Task { call: Arc::clone(self), place, tokenised: Some(text) })
    }

    pub(crate) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    pub(crate) fn take_rows(&self) -> Vec<Option<Result<RowOutput, Error>>> {
        let mut rows = self.rows();
        rows.done = None;
        std::mem::take(&mut rows.rows)
    }

    fn tokenise(&self, place: usize, shared: &dyn EncodeText) -> Result<TokenisedText, Error> {
        catch_unwind(AssertUnwindSafe(|| shared.tokenise(&self.texts[place], self.role, self.truncation)))
            .unwrap_or_else(|_| Err(died()))
    }

    /// Sets a row, once. A row that its caller has already given up is thrown away.
    fn answer(&self, place: usize, row: Result<RowOutput, Error>) {
        let mut rows = self.rows();
        let Some(slot) = rows.rows.get_mut(place) else {
            return;
        };
        *slot = Some(row);
        rows.missing -= 1;
        if rows.missing == 0 {
            // The receiver may be gone; then nobody waits.
            let _ = rows.done.take().map(|done| done.send(()));
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Task {
    pub(crate) fn text(&self) -> &str {
        &self.call.texts[self.place]
    }

    /// Tokenises the text if that wasn't done ahead.
    pub(crate) fn tokenise(&mut self, shared: &dyn EncodeText) -> Result<(), Error> {
        if self.tokenised.is_none() {
            self.tokenised = Some(self.call.tokenise(self.place, shared)?);
        }
        Ok(())
    }

    /// Whether nobody waits for the answer any more.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.call.is_cancelled()
    }

    /// Gives the row to the call.
    pub(crate) fn answer(self, row: Result<RowOutput, Error>) {
        self.call.answer(self.place, row);
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("texts", &self.texts.len()).finish_non_exhaustive()
    }
}
