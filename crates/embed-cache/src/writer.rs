//! Stores rows behind the callers' backs: one task for each tier that isn't local, and a bounded queue.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use crate::flight::Claim;
use crate::guard::GuardedTier;
use crate::{Key, Value};

/// Why rows aren't stored: what [`TierReport::unstored`](crate::TierReport::unstored) says.
const QUEUE_FULL: &str = "queue_full";
const NO_RUNTIME: &str = "no_runtime";

/// The queue before one tier, and the task behind it. The task ends when the writer is dropped and the queue is
/// empty.
#[derive(Debug)]
pub(crate) struct Writer {
    tier: Arc<GuardedTier>,
    queue: Mutex<Option<Queue>>,
    limit: usize,
}

#[derive(Debug)]
struct Queue {
    jobs: mpsc::UnboundedSender<Job>,
    /// Bytes that wait. The channel is bounded by them and not by jobs, which may hold one row or a thousand.
    waiting: Arc<AtomicUsize>,
}

#[derive(Debug)]
enum Job {
    Put {
        entries: Vec<(Key, Value)>,
        bytes: usize,
        /// Until the rows are stored, others find them by it, and it knows which of them are still wanted.
        claim: Arc<Claim>,
    },
    /// Everything before it is done.
    Barrier(oneshot::Sender<()>),
}

impl Writer {
    pub(crate) fn new(tier: Arc<GuardedTier>, limit: usize) -> Self {
        Self { tier, queue: Mutex::new(None), limit }
    }

    /// Stores the entries soon, or counts why not.
    pub(crate) fn put(&self, entries: Vec<(Key, Value)>, claim: &Arc<Claim>) {
        let count = entries.len() as u64;
        let bytes: usize = entries.iter().map(|(_, value)| value.as_bytes().len()).sum();
        let put = self.with_queue(|queue| {
            if queue.waiting.fetch_add(bytes, Ordering::Relaxed) + bytes > self.limit {
                queue.waiting.fetch_sub(bytes, Ordering::Relaxed);
                return Err(QUEUE_FULL);
            }
            let job = Job::Put { entries, bytes, claim: Arc::clone(claim) };
            queue.jobs.send(job).map_err(|_| NO_RUNTIME)
        });
        if let Err(reason) = put.unwrap_or(Err(NO_RUNTIME)) {
            self.tier.unstored.add(reason, count);
        }
    }

    /// Waits until everything that was put before is stored, given up, or no longer wanted.
    pub(crate) async fn flush(&self) {
        let (reached, barrier) = oneshot::channel();
        let sent = self.with_queue(|queue| queue.jobs.send(Job::Barrier(reached)).is_ok());
        // Where no task is, nothing waits.
        if sent == Some(true) {
            let _ = barrier.await;
        }
    }

    /// Bytes of vectors that wait to be stored.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.with_queue(|queue| queue.waiting.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// The queue, with a task behind it; `None` if no runtime is here to run one.
    fn with_queue<T>(&self, use_it: impl FnOnce(&Queue) -> T) -> Option<T> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        // The task ends with its runtime, and a program may have one after the other.
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

async fn run(tier: Arc<GuardedTier>, mut queue: mpsc::UnboundedReceiver<Job>, waiting: Arc<AtomicUsize>) {
    while let Some(job) = queue.recv().await {
        match job {
            Job::Put { mut entries, bytes, claim } => {
                claim.keep_wanted(&mut entries);
                if !entries.is_empty() {
                    tier.put_many(&entries).await;
                }
                waiting.fetch_sub(bytes, Ordering::Relaxed);
            }
            Job::Barrier(reached) => {
                let _ = reached.send(());
            }
        }
    }
}
