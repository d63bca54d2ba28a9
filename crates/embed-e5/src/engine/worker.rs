//! What a thread of the engine does: take a text, embed it, answer. It outlives its encoder.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use embed_core::{Error, ErrorKind, Role, Truncation};

use super::call::Task;
use super::queue::Queue;
use super::{Call, RowOutput};

/// A model that one thread uses at a time.
pub(crate) trait Encoder: Send {
    /// The mean of the token vectors of one sequence of ids, special tokens included.
    fn encode(&mut self, ids: &[i64]) -> Result<Vec<f32>, Error>;
}

/// What the threads share: how to get a model, and how to embed a text with it.
pub(crate) trait EncodeText: Send + Sync {
    /// A new model for a thread.
    fn open(&self) -> Result<Box<dyn Encoder>, Error>;

    /// A new model that runs on all threads and gives the same vectors to the bit; `None` where there is no
    /// such, or it can't be opened.
    fn open_wide(&self) -> Option<Box<dyn Encoder>>;

    /// Embeds one text. `cancelled` is asked between runs.
    fn encode_text(
        &self,
        encoder: &mut dyn Encoder,
        text: &str,
        role: Role,
        truncation: Truncation,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<RowOutput, Error>;
}

/// The model on all threads, for a text that comes alone: whoever has it uses every core. It is opened after the
/// threads' own, so that nobody waits for it, and is missing where it can't be.
#[derive(Default)]
pub(crate) struct Wide(Mutex<Option<Box<dyn Encoder>>>);

impl Wide {
    /// The model, if it is there and nobody uses it.
    fn take(&self) -> Option<MutexGuard<'_, Option<Box<dyn Encoder>>>> {
        self.0.try_lock().ok().filter(|wide| wide.is_some())
    }

    fn open(&self, shared: &dyn EncodeText) {
        let wide = catch_unwind(AssertUnwindSafe(|| shared.open_wide())).ok().flatten();
        // Waits for a thread that looks just now whether there is one.
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = wide;
    }
}

/// The life of a thread. The first encoder's success or failure is reported once.
pub(crate) fn run(
    number: usize,
    queue: &Queue,
    wide: &Wide,
    shared: &dyn EncodeText,
    report: &Sender<Result<(), Error>>,
) {
    let mut encoder = match open(shared) {
        Ok(encoder) => {
            let _ = report.send(Ok(()));
            Some(encoder)
        }
        Err(error) => {
            let _ = report.send(Err(error));
            return;
        }
    };
    if number == 0 && queue.workers() > 1 {
        wide.open(shared);
    }
    while let Some((call, alone)) = queue.next(number) {
        let wide = if alone { wide.take() } else { None };
        let answer = embed_next(queue, shared, &call, &mut encoder, wide);
        queue.finished();
        if let Some((task, row)) = answer {
            task.answer(row);
        }
    }
}

/// The next text of the call and its row; nothing if there is none that anybody waits for.
fn embed_next<'a>(
    queue: &Queue,
    shared: &dyn EncodeText,
    call: &'a Arc<Call>,
    own: &mut Option<Box<dyn Encoder>>,
    mut wide: Option<MutexGuard<'_, Option<Box<dyn Encoder>>>>,
) -> Option<(Task<'a>, Result<RowOutput, Error>)> {
    let Some((task, last)) = call.next_task() else {
        queue.remove(call);
        return None;
    };
    if last {
        queue.remove(call);
    }
    if task.is_cancelled() {
        return None;
    }
    let is_wide = wide.is_some();
    let encoder = wide.as_deref_mut().unwrap_or(own);
    if encoder.is_none() {
        match open(shared) {
            Ok(new) => {
                *encoder = Some(new);
                queue.worker_was_mended();
            }
            Err(error) => return Some((task, Err(error))),
        }
    }
    let model = encoder.as_deref_mut()?;
    let row = catch_unwind(AssertUnwindSafe(|| {
        shared.encode_text(model, task.text(), task.role(), task.truncation(), &|| task.is_cancelled())
    }));
    let row = row.unwrap_or_else(|_| {
        // What the panic left behind can't be trusted. The next text gets a new model; the one on all threads is gone
        // for good, since the threads do without it.
        *encoder = None;
        if !is_wide {
            queue.worker_broke();
        }
        Err(died())
    });
    Some((task, row))
}

fn open(shared: &dyn EncodeText) -> Result<Box<dyn Encoder>, Error> {
    catch_unwind(AssertUnwindSafe(|| shared.open())).unwrap_or_else(|_| Err(died()))
}

fn died() -> Error {
    Error::new(ErrorKind::Unavailable, "a worker of the engine panicked on this text and is being replaced")
        .temporary()
}
