//! Stores rows in the background: one task and a bounded queue for each tier that isn't local.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use crate::flight::Claim;
use crate::guard::GuardedTier;
use crate::{Key, Value};

/// Reasons in [`TierReport::unstored`](crate::TierReport::unstored).
const QUEUE_FULL: &str = "queue_full";
const NO_RUNTIME: &str = "no_runtime";

/// The queue of one tier and its task, which ends when the writer is dropped and the queue is empty.
#[derive(Debug)]
pub(crate) struct Writer {
    tier: Arc<GuardedTier>,
    queue: Mutex<Option<Queue>>,
    limit: usize,
}

#[derive(Debug)]
struct Queue {
    jobs: mpsc::UnboundedSender<WriteJob>,
    /// Queued bytes. They bound the channel, not the number of jobs, which may have one row or a thousand.
    waiting: Arc<AtomicUsize>,
}

#[derive(Debug)]
enum WriteJob {
    Put {
        entries: Vec<(Key, Value)>,
        bytes: usize,
        /// Until the rows are stored, other callers find them by it, and it knows which were forgotten.
        claim: Arc<Claim>,
    },
    /// Reports that all jobs before it are done.
    Barrier(oneshot::Sender<()>),
}

impl Writer {
    pub(crate) fn new(tier: Arc<GuardedTier>, limit: usize) -> Self {
        Self { tier, queue: Mutex::new(None), limit }
    }

    /// Queues the entries, or counts why not.
    pub(crate) fn put(&self, entries: Vec<(Key, Value)>, claim: &Arc<Claim>) {
        let count = entries.len() as u64;
        let bytes: usize = entries.iter().map(|(_, value)| value.as_bytes().len()).sum();
        let put = self.with_queue(|queue| {
            if queue.waiting.fetch_add(bytes, Ordering::Relaxed) + bytes > self.limit {
                queue.waiting.fetch_sub(bytes, Ordering::Relaxed);
                return Err(QUEUE_FULL);
            }
            let job = WriteJob::Put { entries, bytes, claim: Arc::clone(claim) };
            queue.jobs.send(job).map_err(|_| NO_RUNTIME)
        });
        if let Err(reason) = put.unwrap_or(Err(NO_RUNTIME)) {
            self.tier.unstored.add(reason, count);
        }
    }

    /// Waits until all entries queued so far are stored, given up, or no longer wanted.
    pub(crate) async fn flush(&self) {
        let (reached, barrier) = oneshot::channel();
        let sent = self.with_queue(|queue| queue.jobs.send(WriteJob::Barrier(reached)).is_ok());
        // Without a task nothing is queued.
        if sent == Some(true) {
            let _ = barrier.await;
        }
    }

    /// Bytes of queued vectors.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.with_queue(|queue| queue.waiting.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// The queue with a running task; `None` outside of a runtime.
    fn with_queue<T>(&self, use_it: impl FnOnce(&Queue) -> T) -> Option<T> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        // The task ends with its runtime, and a program may have several runtimes in turn.
        if queue.as_ref().is_none_or(|queue| queue.jobs.is_closed()) {
            let runtime = Handle::try_current().ok()?;
            let (jobs, receiver) = mpsc::unbounded_channel();
            let waiting = Arc::default();
            runtime.spawn(run(Arc::clone(&self.tier), receiver, Arc::clone(&waiting)));
            *queue = Some(Queue { jobs, waiting });
        }
        queue.as_ref().map(use_it)
    }
}

async fn run(
    tier: Arc<GuardedTier>,
    mut queue: mpsc::UnboundedReceiver<WriteJob>,
    waiting: Arc<AtomicUsize>,
) {
    while let Some(job) = queue.recv().await {
        match job {
            WriteJob::Put { mut entries, bytes, claim } => {
                claim.keep_wanted(&mut entries);
                if !entries.is_empty() {
                    tier.put_many(&entries).await;
                }
                waiting.fetch_sub(bytes, Ordering::Relaxed);
            }
            WriteJob::Barrier(reached) => {
                let _ = reached.send(());
            }
        }
    }
}
