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
//! Several models can share the threads and the queue. Each has sessions of its own, which are closed while nobody uses it and
//! opened again, on a thread of the model, when somebody does; calls of the others don't wait for that.
//!
//! `job` has the data, `entry` and `schedule` decide what is next, `sessions` knows what a model has open, `state` is both for all
//! models, `pool` has the lock, `worker` does the work, and `model` is what they need from outside.

mod entry;
mod job;
mod model;
mod pace;
mod pool;
mod schedule;
mod sessions;
mod state;
#[cfg(test)]
mod tests;
mod worker;

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use embed_core::{Deadline, EmbedRequest, Error, ErrorKind, Normalisation};
use futures::channel::oneshot;

use self::job::{EngineCall, ModelId};
use self::pool::Pool;
use self::state::PooledModel;
use crate::stats::Counters;

pub(crate) use self::job::EngineRow;
pub(crate) use self::model::{EngineModel, Ragged, Tokenise};
pub(crate) use self::schedule::QueueLimits;
pub(crate) use self::state::OpenModel;

/// How a model is set up.
pub(crate) struct Setup {
    /// The threads of the session on all cores, if there should be one.
    pub(crate) all_core: Option<NonZeroUsize>,
    /// Windows that a text may have.
    pub(crate) max_windows: usize,
    /// What is done to the vector of a text of one window. The mean over several has norm 1.
    pub(crate) normalisation: Normalisation,
    /// How long the model stays loaded after its last call; `None` for ever.
    pub(crate) keep_alive: Option<Duration>,
    /// What it counts for in the budget of the threads while it is loaded.
    pub(crate) bytes: u64,
    /// Opens a session.
    pub(crate) open: Box<OpenModel>,
    /// Counts what is done.
    pub(crate) counters: Arc<Counters>,
}

/// Threads, and the queue of the work that waits for them. Dropping it ends the threads after their current runs.
pub(crate) struct Threads<T: Tokenise> {
    pool: Arc<Pool<T>>,
    models: AtomicU64,
    handles: Vec<JoinHandle<()>>,
}

/// A model on threads that it may share with others. Dropping it waits for its current runs and closes its sessions.
pub(crate) struct Engine<T: Tokenise> {
    id: ModelId,
    pool: Arc<Pool<T>>,
    normalisation: Normalisation,
    counters: Arc<Counters>,
    /// The thread that opens sessions.
    opener: Option<JoinHandle<()>>,
    /// Held last, since its runs end on them.
    threads: Arc<Threads<T>>,
}

impl<T: Tokenise> Threads<T> {
    /// Starts so many workers. Models that nobody uses are unloaded while all loaded ones count for more than the budget.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] if the system gives no thread; then all threads are ended.
    pub(crate) fn start(
        workers: NonZeroUsize,
        limits: QueueLimits,
        budget: Option<u64>,
    ) -> Result<Self, Error> {
        let pool = Arc::new(Pool::new(workers, limits, budget));
        let handles = Vec::with_capacity(workers.get() + 1);
        let mut threads = Self { pool, models: AtomicU64::new(0), handles };
        for number in 0..workers.get() {
            let pool = Arc::clone(&threads.pool);
            threads.handles.push(spawn(&format!("encoder-{number}"), move || worker::work(&pool, number))?);
        }
        let pool = Arc::clone(&threads.pool);
        threads.handles.push(spawn("encoder-timer", move || pool.keep_time())?);
        Ok(threads)
    }

    /// Workers.
    pub(crate) fn count(&self) -> usize {
        self.pool.workers()
    }
}

impl<T: Tokenise> Drop for Threads<T> {
    fn drop(&mut self) {
        self.pool.close();
        for thread in self.handles.drain(..) {
            // A thread catches its panics; one that got through can't be reported to anybody.
            let _ = thread.join();
        }
    }
}

impl<T: Tokenise> Engine<T> {
    /// Loads a model, with a session for each worker.
    ///
    /// This blocks: loading a model takes most of a second.
    ///
    /// # Errors
    ///
    /// The error of the first session that failed to open.
    pub(crate) fn start(setup: Setup, tokenizer: Arc<T>, threads: &Arc<Threads<T>>) -> Result<Self, Error> {
        let Setup { all_core, max_windows, normalisation, keep_alive, bytes, open, counters } = setup;
        let id = ModelId(threads.models.fetch_add(1, Ordering::Relaxed));
        let pool = Arc::clone(&threads.pool);
        let mut engine = Self {
            id,
            pool: Arc::clone(&pool),
            normalisation,
            counters: Arc::clone(&counters),
            opener: None,
            threads: Arc::clone(threads),
        };
        let model = PooledModel {
            id,
            tokenizer,
            max_windows,
            open,
            all_core,
            pace: Mutex::default(),
            keep_alive,
            bytes,
            counters,
            changed: Condvar::new(),
        };
        let model = Arc::new(model);
        pool.add(&model)?;
        // It opens the session on all cores after those of the workers, so that nobody waits for it.
        engine.opener = Some(spawn("encoder-open", move || pool.keep_open(&model))?);
        Ok(engine)
    }

    /// Enqueues a call.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Overloaded`] if the queue is full, [`ErrorKind::Timeout`] if the deadline is over, the error of the last try
    /// if all sessions are broken and can't be opened anew.
    pub(crate) fn submit(&self, request: &EmbedRequest) -> Result<Submitted<T>, Error> {
        if request.deadline().is_over(Instant::now()) {
            return Err(too_late());
        }
        let (call, done) = EngineCall::new(request, self.id, self.normalisation, &self.counters);
        self.pool.push(Arc::clone(&call))?;
        Ok(Submitted { call, pool: Arc::clone(&self.pool), done })
    }

    /// Sessions that are broken and not yet opened anew, of as many as there are workers.
    pub(crate) fn broken_workers(&self) -> usize {
        self.pool.broken(self.id)
    }

    /// All workers.
    pub(crate) fn workers(&self) -> usize {
        self.threads.count()
    }

    /// Whether the model has a session.
    pub(crate) fn is_loaded(&self) -> bool {
        self.pool.is_loaded(self.id)
    }

    /// Closes the sessions, those in use as soon as their runs end. The next call opens them again.
    pub(crate) fn unload(&self) {
        self.pool.unload(self.id);
    }
}

impl<T: Tokenise> Drop for Engine<T> {
    fn drop(&mut self) {
        self.pool.forget(self.id);
        if let Some(opener) = self.opener.take() {
            let _ = opener.join();
        }
    }
}

impl<T: Tokenise> fmt::Debug for Threads<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Threads").field("workers", &self.count()).finish_non_exhaustive()
    }
}

impl<T: Tokenise> fmt::Debug for Engine<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("workers", &self.workers()).finish_non_exhaustive()
    }
}

fn spawn(name: &str, life: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Error> {
    thread::Builder::new().name(name.to_owned()).spawn(life).map_err(|error| {
        Error::new(ErrorKind::Unavailable, "the system gives no thread for the engine").with_source(error)
    })
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
