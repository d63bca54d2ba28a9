//! Trials of a candidate in the background: texts that the old route has just embedded are also sent to the candidate, and
//! the vectors are compared.
//!
//! The only cost for a caller is copying a few rows into a bounded queue. Samples that don't fit are dropped.

mod agreement;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use embed_core::{EmbedRequest, EmbedResponse, Embedder, Embedding, Role, Truncation};
use futures::StreamExt;
use futures::stream;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use crate::guard::{has, is_of_route};
use crate::rollout::{JudgedCall, Rollout, ShadowConfig, ShadowStatus};
use agreement::Comparison;

/// The caller's side. Dropping it ends the worker, once the samples in flight are done or have timed out.
#[derive(Debug)]
pub(crate) struct Shadow {
    trial: Arc<Trial>,
    queue: Mutex<Option<mpsc::UnboundedSender<ShadowSample>>>,
    /// Calls of the old route, to sample them evenly.
    calls: AtomicU64,
}

/// The worker's side.
#[derive(Debug)]
struct Trial {
    config: ShadowConfig,
    rollout: Arc<Rollout>,
    candidate: Arc<dyn Embedder>,
    compared: Mutex<Comparison>,
    waiting: Arc<Waiting>,
    sampled: AtomicU64,
    dropped: AtomicU64,
}

/// The texts in the queue or in flight, which bound the queue.
#[derive(Debug, Default)]
struct Waiting {
    rows: AtomicUsize,
    bytes: AtomicUsize,
}

#[derive(Debug)]
struct ShadowSample {
    texts: Vec<Arc<str>>,
    current: Vec<Embedding>,
    role: Role,
    truncation: Truncation,
    _place: ShadowPlace,
}

/// Room in the queue, released when dropped.
#[derive(Debug)]
struct ShadowPlace {
    waiting: Arc<Waiting>,
    rows: usize,
    bytes: usize,
}

impl Shadow {
    pub(crate) fn new(rollout: Arc<Rollout>, candidate: Arc<dyn Embedder>) -> Self {
        let config = rollout.config().shadow;
        let trial = Trial {
            config,
            rollout,
            candidate,
            compared: Mutex::new(Comparison::new(config)),
            waiting: Arc::default(),
            sampled: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        };
        Self { trial: Arc::new(trial), queue: Mutex::new(None), calls: AtomicU64::new(0) }
    }

    /// Samples a response of the old route, if it is its turn and there is room.
    pub(crate) fn offer(&self, request: &EmbedRequest, response: &EmbedResponse) {
        let trial = &self.trial;
        if trial.config.share == 0.0 || trial.rollout.is_stopped() || !self.is_its_turn() {
            return;
        }
        let good =
            || request.texts().iter().zip(response.rows()).filter_map(|(text, row)| Some((text, row.ok()?)));
        let good = || good().take(trial.config.rows_of_a_call);
        let size =
            |(text, row): (&Arc<str>, embed_core::EmbeddingRef<'_>)| text.len() + size_of_val(row.vector());
        let (rows, bytes) = (good().count(), good().map(size).sum());
        if rows == 0 {
            return;
        }
        let Some(place) = trial.place(rows, bytes) else {
            trial.dropped.fetch_add(rows as u64, Ordering::Relaxed);
            return;
        };
        let (texts, current) = good().map(|(text, row)| (Arc::clone(text), row.to_embedding())).unzip();
        let (role, truncation) = (request.role(), request.truncation());
        let sent = self.send(ShadowSample { texts, current, role, truncation, _place: place });
        let counter = if sent { &trial.sampled } else { &trial.dropped };
        counter.fetch_add(rows as u64, Ordering::Relaxed);
    }

    /// Every call at a share of 1, every second one at 0.5: evenly, not at random.
    fn is_its_turn(&self) -> bool {
        let (call, share) = (self.calls.fetch_add(1, Ordering::Relaxed) as f64, self.trial.config.share);
        ((call + 1.0) * share).floor() > (call * share).floor()
    }

    /// Sends a sample to the worker. The first sample starts it, because a router may be built outside of a runtime.
    fn send(&self, sample: ShadowSample) -> bool {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        // A worker ends with its runtime; in another runtime a new one is started.
        if queue.as_ref().is_none_or(mpsc::UnboundedSender::is_closed) {
            let Ok(runtime) = Handle::try_current() else {
                return false;
            };
            let (sender, receiver) = mpsc::unbounded_channel();
            runtime.spawn(Arc::clone(&self.trial).work(receiver));
            *queue = Some(sender);
        }
        queue.as_ref().is_some_and(|queue| queue.send(sample).is_ok())
    }

    pub(crate) fn status(&self) -> ShadowStatus {
        ShadowStatus {
            sampled: self.trial.sampled.load(Ordering::Relaxed),
            dropped: self.trial.dropped.load(Ordering::Relaxed),
            agreement: self.trial.compared().read(),
        }
    }
}

impl Trial {
    async fn work(self: Arc<Self>, queue: mpsc::UnboundedReceiver<ShadowSample>) {
        let samples = stream::unfold(queue, async |mut queue| Some((queue.recv().await?, queue)));
        samples.for_each_concurrent(self.config.in_flight, |sample| self.try_out(sample)).await;
    }

    async fn try_out(&self, sample: ShadowSample) {
        if self.rollout.is_stopped() {
            return;
        }
        let Self { config, .. } = self;
        let began = Instant::now();
        let mut request =
            EmbedRequest::new(sample.texts.iter().cloned(), sample.role).with_truncation(sample.truncation);
        // A timeout beyond the range of the clock is no deadline.
        if let Some(deadline) = began.checked_add(config.timeout) {
            request = request.with_deadline(deadline.into_std());
        }
        let answer = timeout(config.timeout, self.candidate.embed(request)).await;
        let time = began.elapsed() / sample.texts.len() as u32;
        let failed = answer.as_ref().map_or(true, |answer| has(answer, is_of_route));
        self.rollout.judge(JudgedCall { time, failed });
        let Ok(Ok(response)) = answer else {
            return;
        };
        for (current, candidate) in sample.current.iter().zip(response.rows()) {
            if let Ok(candidate) = candidate {
                self.compared().add(sample.role, current.as_view(), candidate);
            }
            // Searching neighbours takes a fraction of a millisecond, so let other tasks run.
            tokio::task::yield_now().await;
        }
    }

    fn compared(&self) -> MutexGuard<'_, Comparison> {
        self.compared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn place(&self, rows: usize, bytes: usize) -> Option<ShadowPlace> {
        let waiting = &self.waiting;
        let place = ShadowPlace { waiting: Arc::clone(waiting), rows, bytes };
        let rows = waiting.rows.fetch_add(rows, Ordering::Relaxed) + rows;
        let bytes = waiting.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        // A place that isn't returned is dropped, which releases its room.
        (rows <= self.config.waiting_rows && bytes <= self.config.waiting_bytes).then_some(place)
    }
}

impl Drop for ShadowPlace {
    fn drop(&mut self) {
        self.waiting.rows.fetch_sub(self.rows, Ordering::Relaxed);
        self.waiting.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
