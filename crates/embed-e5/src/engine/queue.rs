//! The calls that wait, in turn.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use embed_core::{Error, ErrorKind};

use super::Call;

pub(crate) struct Queue {
    state: Mutex<State>,
    /// What each worker sleeps on.
    bells: Vec<Condvar>,
    max_calls: usize,
    broken: AtomicUsize,
}

struct State {
    calls: VecDeque<Arc<Call>>,
    /// Workers that sleep, the last to fall asleep on top. It is the next to be woken: its weights are still
    /// in the processor's cache, where those of two sessions have no room.
    asleep: Vec<usize>,
    /// Workers that have a text.
    running: usize,
    closed: bool,
}

impl Queue {
    pub(crate) fn new(max_calls: usize, workers: usize) -> Self {
        Self {
            state: Mutex::new(State {
                calls: VecDeque::new(),
                asleep: Vec::new(),
                running: 0,
                closed: false,
            }),
            bells: (0..workers).map(|_| Condvar::new()).collect(),
            max_calls,
            broken: AtomicUsize::new(0),
        }
    }

    pub(crate) fn push(&self, call: Arc<Call>) -> Result<(), Error> {
        if call.len() == 0 {
            return Ok(());
        }
        let mut state = self.state();
        if state.calls.len() >= self.max_calls {
            return Err(Error::new(
                ErrorKind::Overloaded,
                "the engine has as many calls waiting as it may; try again later or raise max_waiting_calls",
            )
            .with_context("limit", self.max_calls)
            .temporary());
        }
        // No more workers than texts: one that wakes for nothing takes a core from one that works.
        let awake = state.asleep.len().saturating_sub(call.len());
        let woken = state.asleep.split_off(awake);
        state.calls.push_back(call);
        drop(state);
        for worker in woken {
            self.bells[worker].notify_one();
        }
        Ok(())
    }

    pub(crate) fn remove(&self, call: &Arc<Call>) {
        self.state().calls.retain(|waiting| !Arc::ptr_eq(waiting, call));
    }

    /// Waits for a call with work left and sends it to the end of the line; `None` when the queue is
    /// closed. Says whether the call is one text and all that there is to do. The worker must say when it has
    /// [finished](Self::finished).
    pub(crate) fn next(&self, worker: usize) -> Option<(Arc<Call>, bool)> {
        let mut state = self.state();
        loop {
            if state.closed {
                return None;
            }
            if let Some(call) = state.calls.pop_front() {
                let alone = state.running == 0 && state.calls.is_empty() && call.len() == 1;
                state.calls.push_back(Arc::clone(&call));
                state.running += 1;
                return Some((call, alone));
            }
            state.asleep.push(worker);
            while state.asleep.contains(&worker) {
                state = self.bells[worker].wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// A worker has no text any more: said before its answer is given, since the caller's next text may come before
    /// the worker is asleep.
    pub(crate) fn finished(&self) {
        self.state().running -= 1;
    }

    pub(crate) fn workers(&self) -> usize {
        self.bells.len()
    }

    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        for call in state.calls.drain(..) {
            call.cancel();
        }
        state.asleep.clear();
        drop(state);
        for bell in &self.bells {
            bell.notify_one();
        }
    }

    pub(crate) fn broken_workers(&self) -> usize {
        self.broken.load(Ordering::Relaxed)
    }

    pub(crate) fn worker_broke(&self) {
        self.broken.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn worker_was_mended(&self) {
        self.broken.fetch_sub(1, Ordering::Relaxed);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("workers", &self.bells.len()).finish_non_exhaustive()
    }
}
