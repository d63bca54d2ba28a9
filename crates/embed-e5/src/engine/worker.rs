//! What a thread of the engine does: take a text, embed it, answer. It outlives its encoder.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::Sender;
use std::sync::{Mutex, MutexGuard, PoisonError};

use embed_core::{Error, ErrorKind, Role, Truncation};

use super::RowOutput;
use super::call::Task;
use super::queue::Queue;
use crate::tokenizer::TokenisedText;

/// A model that one thread uses at a time.
pub(crate) trait Encoder: Send {
    /// The means of the token vectors of sequences of ids, special tokens included.
    fn encode(&mut self, texts: &[&[i64]]) -> Result<Vec<Vec<f32>>, Error>;

    /// Whether several texts may share a run, in which each has the same vector as alone. If not, a text always runs
    /// alone.
    fn shares_runs(&self) -> bool;
}

/// What the threads share: how to get a model, and how to embed a text with it.
pub(crate) trait EncodeText: Send + Sync {
    /// A new model for a thread.
    fn open(&self) -> Result<Box<dyn Encoder>, Error>;

    /// A new model that runs on all threads and gives the same vectors to the bit; `None` where there is no
    /// such, or it can't be opened.
    fn open_wide(&self) -> Option<Box<dyn Encoder>>;

    /// The tokens of a text.
    fn tokenise(&self, text: &str, role: Role, truncation: Truncation) -> Result<TokenisedText, Error>;

    /// Embeds one text, or several of one window each, in one run. `cancelled` is asked between runs.
    fn encode(
        &self,
        encoder: &mut dyn Encoder,
        texts: &[(&str, &TokenisedText)],
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Vec<RowOutput>, Error>;
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
    loop {
        let share = encoder.as_ref().is_some_and(|model| model.shares_runs()).then_some(shared);
        let Some(run) = queue.next(number, share) else { return };
        let tasks: Vec<_> = run.tasks.into_iter().filter(|task| !task.is_cancelled()).collect();
        let wide = if run.alone { wide.take() } else { None };
        let rows = match wide {
            // If it panics it is gone for good: the threads do without it.
            Some(mut wide) => encode(shared, tasks, &mut wide, || ()),
            None => encode_own(queue, shared, tasks, &mut encoder),
        };
        queue.finished();
        rows.into_iter().for_each(|(task, row)| task.answer(row));
    }
}

/// Texts with their rows.
type Answers = Vec<(Task, Result<RowOutput, Error>)>;

/// The rows of the texts, by the thread's own model, which is opened anew if it broke.
fn encode_own(
    queue: &Queue,
    shared: &dyn EncodeText,
    tasks: Vec<Task>,
    own: &mut Option<Box<dyn Encoder>>,
) -> Answers {
    if own.is_none() {
        match open(shared) {
            Ok(new) => {
                *own = Some(new);
                queue.worker_was_mended();
            }
            Err(error) => return all_failed(tasks, &error),
        }
    }
    let together = tasks.len();
    let answers = encode(shared, tasks, own, || queue.worker_broke());
    if together < 2 || answers.iter().all(|(_, row)| row.is_ok()) {
        return answers;
    }
    // One of them may have spoilt it for the others.
    answers.into_iter().flat_map(|(task, _)| encode_own(queue, shared, vec![task], own)).collect()
}

/// The rows of the texts by this model, which is gone after a panic: what that left behind can't be trusted.
fn encode(
    shared: &dyn EncodeText,
    mut tasks: Vec<Task>,
    model: &mut Option<Box<dyn Encoder>>,
    broke: impl FnOnce(),
) -> Answers {
    let Some(encoder) = model.as_deref_mut() else {
        return all_failed(tasks, &died());
    };
    let rows = catch_unwind(AssertUnwindSafe(|| encode_together(shared, &mut tasks, encoder)));
    let rows = rows.unwrap_or_else(|_| {
        *model = None;
        broke();
        Err(died())
    });
    match rows {
        Ok(rows) => tasks.into_iter().zip(rows.into_iter().map(Ok)).collect(),
        Err(error) => all_failed(tasks, &error),
    }
}

fn all_failed(tasks: Vec<Task>, error: &Error) -> Answers {
    tasks.into_iter().map(|task| (task, Err(error.clone()))).collect()
}

fn encode_together(
    shared: &dyn EncodeText,
    tasks: &mut [Task],
    encoder: &mut dyn Encoder,
) -> Result<Vec<RowOutput>, Error> {
    for task in tasks.iter_mut() {
        task.tokenise(shared)?;
    }
    let texts: Vec<_> =
        tasks.iter().filter_map(|task| Some((task.text(), task.tokenised.as_ref()?))).collect();
    let rows = shared.encode(encoder, &texts, &|| tasks.iter().all(Task::is_cancelled))?;
    if rows.len() == tasks.len() {
        return Ok(rows);
    }
    Err(Error::new(ErrorKind::Internal, "a run gave another number of rows than it has texts"))
}

fn open(shared: &dyn EncodeText) -> Result<Box<dyn Encoder>, Error> {
    catch_unwind(AssertUnwindSafe(|| shared.open())).unwrap_or_else(|_| Err(died()))
}

pub(super) fn died() -> Error {
    Error::new(ErrorKind::Unavailable, "a worker of the engine panicked on this text and is being replaced")
        .temporary()
}
