//! Worker threads, each with a model of its own.
//!
//! Nothing is padded: a model takes the tokens of several texts one after the other, and the vector of a text is the same
//! to the bit whatever else is in its run. Keeping every core busy, which a batch is good for elsewhere, the threads do
//! here; a shared run is for short texts, whose products are too small alone.
//!
//! A text that comes alone, while no thread has anything to do, runs on all cores at once, in a model that is there
//! for this: its vector is the same to the bit.
//!
//! Calls take turns: a worker takes the next text of the call that waited longest, so that a single query
//! isn't stuck behind a batch of ten thousand. Within a call the long texts go first, so that no thread
//! is left with a long one at the end.

mod call;
mod queue;
#[cfg(test)]
mod tests;
mod worker;

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use embed_core::{EmbedRequest, Error, ErrorKind};

pub(crate) use call::{Call, RowOutput};
use queue::Queue;
use worker::Wide;
pub(crate) use worker::{EncodeText, Encoder};

/// The threads and their queue. Dropping it ends the threads: each finishes the run it is in.
pub(crate) struct Engine {
    queue: Arc<Queue>,
    threads: Vec<JoinHandle<()>>,
}

impl Engine {
    /// Starts the threads and waits until each has its encoder.
    ///
    /// This blocks: a model takes a good part of a second to load.
    ///
    /// # Errors
    ///
    /// The first encoder's error; the threads are gone then.
    pub(crate) fn start(
        threads: NonZeroUsize,
        max_waiting_calls: usize,
        encoder: Arc<dyn EncodeText>,
    ) -> Result<Self, Error> {
        let queue = Arc::new(Queue::new(max_waiting_calls, threads.get()));
        let wide = Arc::new(Wide::default());
        let (report, reports) = std::sync::mpsc::channel();
        let mut engine = Self { queue, threads: Vec::with_capacity(threads.get()) };
        for number in 0..threads.get() {
            let (queue, wide) = (Arc::clone(&engine.queue), Arc::clone(&wide));
            let (encoder, report) = (Arc::clone(&encoder), report.clone());
            let thread = thread::Builder::new()
                .name(format!("embed-e5-{number}"))
                .spawn(move || worker::run(number, &queue, &wide, encoder.as_ref(), &report))
                .map_err(|error| {
                    Error::new(ErrorKind::Unavailable, "the system gives no thread for the engine")
                        .with_source(error)
                })?;
            engine.threads.push(thread);
        }
        drop(report);
        // Dropping the engine on an error ends the threads that did start.
        for _ in 0..threads.get() {
            reports.recv().unwrap_or_else(|_| {
                Err(Error::new(ErrorKind::Unavailable, "a thread of the engine died at the start"))
            })?;
        }
        Ok(engine)
    }

    /// Puts a call in the queue.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Overloaded`] if as many calls as may wait do so.
    pub(crate) fn submit(&self, request: &EmbedRequest) -> Result<Submitted, Error> {
        let call = Arc::new(Call::new(request));
        let done = call.done();
        self.queue.push(Arc::clone(&call))?;
        Ok(Submitted { call, queue: Arc::clone(&self.queue), done })
    }

    /// Threads whose encoder is broken and not yet replaced, and all threads.
    pub(crate) fn broken_workers(&self) -> (usize, usize) {
        (self.queue.broken_workers(), self.threads.len())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.queue.close();
        for thread in self.threads.drain(..) {
            // A thread catches its panics; if one got through, there is nobody left to tell.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("threads", &self.threads.len()).finish_non_exhaustive()
    }
}

/// A call in the queue. Dropping it takes what isn't done yet out of the queue.
#[derive(Debug)]
pub(crate) struct Submitted {
    call: Arc<Call>,
    queue: Arc<Queue>,
    done: tokio::sync::oneshot::Receiver<()>,
}

impl Submitted {
    /// Waits until every row is there. Dropping the future loses nothing but the wait.
    pub(crate) async fn finished(&mut self) {
        // An error means that the sender is gone, which it is only when the rows are there.
        let _ = (&mut self.done).await;
    }

    /// The rows that are there; `None` for those that aren't.
    pub(crate) fn take_rows(&self) -> Vec<Option<Result<RowOutput, Error>>> {
        self.call.take_rows()
    }
}

impl Drop for Submitted {
    fn drop(&mut self) {
        self.call.cancel();
        self.queue.remove(&self.call);
    }
}
