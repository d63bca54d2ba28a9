//! One call: its texts, in which order they run, and the rows as they come in.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use embed_core::{EmbedRequest, Error, Role, TokenCount, Truncation};
use tokio::sync::oneshot;

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
    /// Indices of the texts, the longest first.
    order: Vec<usize>,
    next: AtomicUsize,
    cancelled: AtomicBool,
    rows: Mutex<Rows>,
}

struct Rows {
    rows: Vec<Option<Result<RowOutput, Error>>>,
    missing: usize,
    done: Option<oneshot::Sender<()>>,
}

/// One text of a call, in the hands of a worker. If it is dropped without an answer, its row stays open,
/// so a worker always answers.
pub(crate) struct Task<'a> {
    call: &'a Call,
    index: usize,
}

impl Call {
    pub(crate) fn new(request: &EmbedRequest) -> Self {
        let texts = request.shared_texts();
        let mut order: Vec<_> = (0..texts.len()).collect();
        order.sort_by_key(|&index| std::cmp::Reverse(texts[index].len()));
        let rows = Rows { rows: vec![None; texts.len()], missing: texts.len(), done: None };
        Self {
            texts,
            role: request.role(),
            truncation: request.truncation(),
            order,
            next: AtomicUsize::new(0),
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

    /// Hands out the next text, and whether it is the last one.
    pub(crate) fn next_task(&self) -> Option<(Task<'_>, bool)> {
        let place = self.next.fetch_add(1, Ordering::Relaxed);
        let index = *self.order.get(place)?;
        Some((Task { call: self, index }, place + 1 == self.order.len()))
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

    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Task<'_> {
    pub(crate) fn text(&self) -> &str {
        &self.call.texts[self.index]
    }

    pub(crate) fn role(&self) -> Role {
        self.call.role
    }

    pub(crate) fn truncation(&self) -> Truncation {
        self.call.truncation
    }

    /// Whether nobody waits for the answer any more.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.call.is_cancelled()
    }

    /// Sets the row, once. A row that its caller has already given up is thrown away.
    pub(crate) fn answer(self, row: Result<RowOutput, Error>) {
        let mut rows = self.call.rows();
        let Some(slot) = rows.rows.get_mut(self.index) else {
            return;
        };
        *slot = Some(row);
        rows.missing -= 1;
        if rows.missing == 0 {
            // The receiver may be gone; then nobody waits.
            let _ = rows.done.take().map(|done| done.send(()));
        }
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("texts", &self.texts.len()).finish_non_exhaustive()
    }
}
