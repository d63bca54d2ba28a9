//! Worker threads, each with a model of its own.
//!
//! Nothing is padded: a model takes the tokens of several texts one after the other, and the vector of a text is the same
//! to the bit whatever else is in its run. Keeping every core busy, which a batch is good for elsewhere, the threads do
//! here; a shared run is for short texts, whose products are too small alone.
//!
//! The unit of work is a window of a text, never a text: calls take turns between windows, so that a query isn't stuck
//! behind a text of a thousand windows, nor behind a batch of ten thousand texts; and the windows of one text run on
//! all cores.
//!
//! A text that comes alone, while no thread has anything to do, runs on all cores at once, in a model that is there
//! for this: its vector is the same to the bit. In the same model short texts go ahead inside of a long window, between
//! two steps of a layer, while no thread is free: a window of 512 tokens takes up to a third of a second on one core.
//!
//! `job` is the data, `schedule` says who goes next, `pool` has the threads, `model` is what they need from outside.

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

use embed_core::{Deadline, EmbedRequest, Error, ErrorKind};
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
    /// On how many threads the model for a text alone runs, if there is to be one.
    pub(crate) all_core: Option<NonZeroUsize>,
    /// What may wait.
    pub(crate) limits: QueueLimits,
    /// Windows that a text may have.
    pub(crate) max_windows: usize,
    /// Opens a model.
    pub(crate) open: Box<OpenModel>,
    /// What is done is counted here.
    pub(crate) counters: Arc<Counters>,
}

/// The threads and what waits for them. Dropping it ends the threads: each finishes the run it is in.
pub(crate) struct Engine<T: Tokenise> {
    pool: Arc<Pool<T>>,
    counters: Arc<Counters>,
    threads: Vec<JoinHandle<()>>,
}

impl<T: Tokenise> Engine<T> {
    /// Starts the threads and waits until each worker has its model.
    ///
    /// This blocks: a model takes a good part of a second to load.
    ///
    /// # Errors
    ///
    /// The first model's error; the threads are gone then.
    pub(crate) fn start(setup: Setup, tokenizer: Arc<T>) -> Result<Self, Error> {
        let Setup { threads: workers, all_core, limits, max_windows, open, counters } = setup;
        let pool = Arc::new(Pool::new(PoolParts { workers, limits, max_windows, tokenizer, open }));
        let mut engine = Self { pool, counters, threads: Vec::with_capacity(workers.get() + 2) };
        let (report, reports) = std::sync::mpsc::channel();
        for number in 0..workers.get() {
            let report = report.clone();
            engine.spawn(&format!("embed-e5-{number}"), move |pool| pool.work(number, &report))?;
        }
        drop(report);
        // Dropping the engine on an error ends the threads that did start.
        for _ in 0..workers.get() {
            reports.recv().unwrap_or_else(|_| {
                Err(Error::new(ErrorKind::Unavailable, "a thread of the engine died at the start"))
            })?;
        }
        engine.spawn("embed-e5-timer", |pool| pool.keep_time())?;
        if let Some(threads) = all_core {
            // Behind the workers' own, so that nobody waits for it.
            engine.spawn("embed-e5-all-core", move |pool| pool.open_all_core(threads))?;
        }
        Ok(engine)
    }

    /// Lets a call wait for its turn.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Overloaded`] if as much waits as may, [`ErrorKind::Timeout`] if its deadline is over, the model's
    /// error if no worker has a model.
    pub(crate) fn submit(&self, request: &EmbedRequest) -> Result<Submitted<T>, Error> {
        if request.deadline().is_over(Instant::now()) {
            return Err(too_late());
        }
        let (call, done) = EngineCall::new(request, &self.counters);
        self.pool.push(Arc::clone(&call))?;
        Ok(Submitted { call, pool: Arc::clone(&self.pool), done })
    }

    /// Workers whose model is broken and not yet opened anew.
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
            // A thread catches its panics; if one got through, there is nobody left to tell.
            let _ = thread.join();
        }
    }
}

impl<T: Tokenise> fmt::Debug for Engine<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("workers", &self.workers()).finish_non_exhaustive()
    }
}

/// A call that waits. Dropping it takes what isn't done yet off the schedule.
pub(crate) struct Submitted<T: Tokenise> {
    call: Arc<EngineCall>,
    pool: Arc<Pool<T>>,
    done: oneshot::Receiver<()>,
}

impl<T: Tokenise> Submitted<T> {
    /// Waits until every row is there or the deadline is over. Dropping the future loses nothing but the wait.
    pub(crate) async fn finished(&mut self) {
        // An error means that the sender is gone, which it is only when no more rows will come.
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

/// What a caller is told whose deadline was over first.
pub(crate) fn too_late() -> Error {
    Deadline::missed("the deadline was over before the text was embedded")
}
