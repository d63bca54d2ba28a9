//! What a thread of the engine does: take a text, embed it, answer. It outlives its encoder.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::Sender;

use embed_core::{Error, ErrorKind, Role, Truncation};

use super::queue::Queue;
use super::{Call, RowOutput};

/// A model that one thread owns.
pub(crate) trait Encoder {
    /// The mean of the token vectors of one sequence of ids, special tokens included.
    fn encode(&mut self, ids: &[i64]) -> Result<Vec<f32>, Error>;
}

/// What the threads share: how to get a model, and how to embed a text with it.
pub(crate) trait EncodeText: Send + Sync {
    /// A new model for a thread.
    fn open(&self) -> Result<Box<dyn Encoder>, Error>;

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

/// The life of a thread. The first encoder's success or failure is reported once.
pub(crate) fn run(number: usize, queue: &Queue, shared: &dyn EncodeText, report: &Sender<Result<(), Error>>) {
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
    while let Some(call) = queue.next(number) {
        embed_next(queue, shared, &call, &mut encoder);
    }
}

fn embed_next(
    queue: &Queue,
    shared: &dyn EncodeText,
    call: &std::sync::Arc<Call>,
    encoder: &mut Option<Box<dyn Encoder>>,
) {
    let Some((task, last)) = call.next_task() else {
        queue.remove(call);
        return;
    };
    if last {
        queue.remove(call);
    }
    if task.is_cancelled() {
        return;
    }
    if encoder.is_none() {
        match open(shared) {
            Ok(new) => {
                *encoder = Some(new);
                queue.worker_was_mended();
            }
            Err(error) => return task.answer(Err(error)),
        }
    }
    let Some(model) = encoder.as_deref_mut() else {
        return;
    };
    let row = catch_unwind(AssertUnwindSafe(|| {
        shared.encode_text(model, task.text(), task.role(), task.truncation(), &|| task.is_cancelled())
    }));
    match row {
        Ok(row) => task.answer(row),
        Err(_) => {
            // What the panic left behind can't be trusted; the next text gets a new model.
            *encoder = None;
            queue.worker_broke();
            task.answer(Err(died()));
        }
    }
}

fn open(shared: &dyn EncodeText) -> Result<Box<dyn Encoder>, Error> {
    catch_unwind(AssertUnwindSafe(|| shared.open())).unwrap_or_else(|_| Err(died()))
}

fn died() -> Error {
    Error::new(ErrorKind::Unavailable, "a worker of the engine panicked on this text and is being replaced")
        .temporary()
}
