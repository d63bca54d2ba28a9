//! Worker threads, each with its own model.
//!
//! Nothing is padded: a model takes the tokens of several texts one after the other, and the vector of a text is the same
//! to the bit whatever other texts are in its run. The threads keep all cores busy, so no batches are needed for that;
//! only short texts share a run, because their products are too small alone.
//!
//! The unit of work is a window of a text, never a whole text. Calls take turns between windows, so that a query doesn't
//! wait for a text of a thousand windows or a batch of ten thousand texts, and the windows of one text run on all cores.
//!
//! If a single text comes while no thread has anything to do, it runs on all cores at once, in the all-core model; its
//! vector is the same to the bit. While no thread is free, the same model lets short texts run in the middle of a long
//! window, between two steps of a layer, because a window of 512 tokens takes up to a third of a second on one core.
//!
//! `job` has the data, `schedule` decides what is next, `pool` has the threads, `model` is what they need from outside.

mod job;
mod model;
mod pool;
mod schedule;
#[cfg(test)]
mod tests;

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use embed_core::{Deadline, EmbedRequest, Error, ErrorKind, Normalisation};
use futures::channel::oneshot;

use self::job::EngineCall;
use self::pool::{Pool, PoolParts};
use crate::stats::Counters;

pub(crate) use self::job::EngineRow;
pub(crate) use self::model::{EngineModel, Ragged, Tokenise};
pub(crate) use self::pool::OpenModel;
pub(crate) use self::schedule::QueueLimits;

/// How an engine is set up.
pub(crate) struct Setup {
    /// Worker threads.
    pub(crate) threads: NonZeroUsize,
    /// The threads of the all-core model, if there should be one.
    pub(crate) all_core: Option<NonZeroUsize>,
    /// How much may wait.
    pub(crate) limits: QueueLimits,
    /// Windows that a text may have.
    pub(crate) max_windows: usize,
    /// What is done to the vector of a text of one window. The mean over several has norm 1.
    pub(crate) normalisation: Normalisation,
    /// Opens a model.
    pub(crate) open: Box<OpenModel>,
    /// Counts what is done.
    pub(crate) counters: Arc<Counters>,
}

/// The threads and the work that waits for them. Dropping it ends the threads after their current runs.
pub(crate) struct Engine<T: Tokenise> {
    pool: Arc<Pool<T>>,
    normalisation: Normalisation,
    counters: Arc<Counters>,
    threads: Vec<JoinHandle<()>>,
}

impl<T: Tokenise> Engine<T> {
    /// Starts the threads and waits until each worker has its model.
    ///
    /// This blocks: loading a model takes most of a second.
    ///
    /// # Errors
    ///
    /// The error of the first model that failed to load; then all threads are ended.
    pub(crate) fn start(setup: Setup, tokenizer: Arc<T>) -> Result<Self, Error> {
        let Setup { threads: workers, all_core, limits, max_windows, normalisation, open, counters } = setup;
        let pool = Arc::new(Pool::new(PoolParts { workers, limits, max_windows, tokenizer, open }));
        let mut engine =
            Self { pool, normalisation, counters, threads: Vec::with_capacity(workers.get() + 2) };
        let (report, reports) = std::sync::mpsc::channel();
        for number in 0..workers.get() {
            let report = report.clone();
            engine.spawn(&format!("encoder-{number}"), move |pool| pool.work(number, &report))?;
        }
        drop(report);
        // Dropping the engine on an error ends the threads that did start.
        for _ in 0..workers.get() {
            reports.recv().unwrap_or_else(|_| {
                Err(Error::new(ErrorKind::Unavailable, "a thread of the engine died at the start"))
            })?;
        }
        engine.spawn("encoder-timer", |pool| pool.keep_time())?;
        if let Some(threads) = all_core {
            // After the workers' models, so that nobody waits for it.
            engine.spawn("encoder-all", move |pool| pool.open_all_core(threads))?;
        }
        Ok(engine)
    }

    /// Enqueues a call.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Overloaded`] if the queue is full, [`ErrorKind::Timeout`] if the deadline is over, the model's error if no
    /// worker has a model.
    pub(crate) fn submit(&self, request: &EmbedRequest) -> Result<Submitted<T>, Error> {
        if request.deadline().is_over(Instant::now()) {
            return Err(too_late());
        }
        let (call, done) = EngineCall::new(request, self.normalisation, &self.counters);
        self.pool.push(Arc::clone(&call))?;
        Ok(Submitted { call, pool: Arc::clone(&self.pool), done })
    }

    /// Workers whose model is broken and not yet reopened.
    pub(crate) fn broken_workers(&self) -> usize {
        self.pool.broken()
    }

    /// All workers.
    pub(crate) fn workers(&self) -> usize {
        self.pool.workers()
    }

    fn spawn(&mut self, name: &str, life: impl FnOnce(&Arc<Pool<T>>) + Send + 'static) -> Result<(), Error> {
        let pool = Arc::clone(&self.pool);
        let spawned = thread::Builder::new().name(name.to_owned()).spawn(move || life(&pool));
        self.threads.push(spawned.map_err(|error| {
            Error::new(ErrorKind::Unavailable, "the system gives no thread for the engine").with_source(error)
        })?);
        Ok(())
    }
}

impl<T: Tokenise> Drop for Engine<T> {
    fn drop(&mut self) {
        self.pool.close();
        for thread in self.threads.drain(..) {
            // A thread catches its panics; one that got through can't be reported to anybody.
            let _ = thread.join();
        }
    }
}

impl<T: Tokenise> fmt::Debug for Engine<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("workers", &self.workers()).finish_non_exhaustive()
    }
}

/// A call that waits. Dropping it cancels what isn't done yet.
pub(crate) struct Submitted<T: Tokenise> {
    call: Arc<EngineCall>,
    pool: Arc<Pool<T>>,
    done: oneshot::Receiver<()>,
}

impl<T: Tokenise> Submitted<T> {
    /// Waits until every row is there or the deadline is over. Dropping the future only ends the wait.
    pub(crate) async fn finished(&mut self) {
        // The sender is only dropped when no more rows will come.
        let _ = (&mut self.done).await;
    }

    /// The rows that are there; `None` for those that came too late.
    pub(crate) fn take_rows(&self) -> Vec<Option<Result<EngineRow, Error>>> {
        self.call.take_rows()
    }
}

impl<T: Tokenise> Drop for Submitted<T> {
    fn drop(&mut self) {
        self.call.end();
        self.pool.remove(&self.call);
    }
}

/// The error for a caller whose deadline is over.
pub(crate) fn too_late() -> Error {
    Deadline::missed("the deadline was over before the text was embedded")
}
