//! The calls that wait, in turn, and which of their texts run together.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use embed_core::{Error, ErrorKind};

use super::Call;
use super::call::Task;
use super::worker::EncodeText;

/// Tokens of a run of several texts. More gain nothing: products are at their best from a hundred rows on, and what lies
/// between them should stay in a core's own cache.
const TOKENS_OF_A_RUN: usize = 192;
/// Tokens that are made ahead before each run at most: some milliseconds, for which the other workers wait.
const TOKENS_AT_A_TIME: usize = 4096;
/// Calls among which further texts for a run are looked for.
const CALLS_AHEAD: usize = 64;

pub(crate) struct Queue {
    state: Mutex<State>,
    /// One worker at a time chooses, with the state unlocked while it tokenises.
    choice: Mutex<()>,
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

/// What a worker runs at once.
pub(crate) struct Run {
    /// One text, or several short ones.
    pub(crate) tasks: Vec<Task>,
    /// Whether this is one text and all that there is to do.
    pub(crate) alone: bool,
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
            choice: Mutex::new(()),
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

    /// Waits for work; `None` when the queue is closed. The worker must say when it has
    /// [finished](Self::finished).
    ///
    /// The text is the next one of the call that waited longest, which goes to the end of the line. If texts may
    /// `share` a run, others come with it as far as there is room, of that call and of those behind it.
    pub(crate) fn next(&self, worker: usize, share: Option<&dyn EncodeText>) -> Option<Run> {
        loop {
            self.wait_for_work(worker)?;
            let choice = self.choice.lock().unwrap_or_else(PoisonError::into_inner);
            let run = self.choose(share);
            drop(choice);
            if run.is_some() {
                return run;
            }
        }
    }

    /// Sleeps until there is a call; `None` when the queue is closed.
    fn wait_for_work(&self, worker: usize) -> Option<()> {
        let mut state = self.state();
        loop {
            if state.closed {
                return None;
            }
            if !state.calls.is_empty() {
                return Some(());
            }
            state.asleep.push(worker);
            while state.asleep.contains(&worker) {
                state = self.bells[worker].wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    fn choose(&self, share: Option<&dyn EncodeText>) -> Option<Run> {
        let ahead = if share.is_some() { CALLS_AHEAD } else { 1 };
        let calls: Vec<_> = self.state().calls.iter().take(ahead).map(Arc::clone).collect();
        if let Some(shared) = share {
            let mut room = TOKENS_AT_A_TIME;
            calls.iter().for_each(|call| call.look_ahead(shared, &mut room));
        }
        let first = calls.iter().enumerate().find_map(|(turn, call)| Some((turn, call.next_task()?)));
        let Some((turn, first)) = first else {
            drop(self.after(&calls, None));
            return None;
        };
        let mut tasks = vec![first];
        if share.is_some() {
            self.fill(&mut tasks, &calls[turn..]);
        }
        let mut state = self.after(&calls, Some(turn));
        let alone =
            state.running == 0 && state.calls.is_empty() && calls[turn].len() == 1 && tasks.len() == 1;
        state.running += 1;
        Some(Run { tasks, alone })
    }

    /// Adds texts to the first one, as long as there is room: no more than the worker's share of what waits.
    fn fill(&self, tasks: &mut Vec<Task>, calls: &[Arc<Call>]) {
        let window = |task: &Task| Some(task.tokenised.as_ref()?.only_window()?.len());
        let Some(tokens) = tasks.first().and_then(window) else { return };
        let mut room = TOKENS_OF_A_RUN.saturating_sub(tokens);
        let waiting = tasks.len() + calls.iter().map(|call| call.left()).sum::<usize>();
        let most = waiting.div_ceil(self.workers());
        for call in calls {
            while tasks.len() < most
                && let Some(task) = call.next_task_within(room)
            {
                room -= window(&task).unwrap_or_default();
                tasks.push(task);
            }
        }
    }

    /// Takes calls of which nothing is left out of the line, and sends the one whose turn it was to its end.
    fn after(&self, calls: &[Arc<Call>], turn: Option<usize>) -> MutexGuard<'_, State> {
        let is_over: Vec<bool> = calls.iter().map(|call| call.left() == 0).collect();
        let mut state = self.state();
        for (place, call) in calls.iter().enumerate() {
            let is_turn = turn == Some(place);
            if is_over[place] || is_turn {
                state.calls.retain(|waiting| !Arc::ptr_eq(waiting, call));
            }
            if is_turn && !is_over[place] && !call.is_cancelled() {
                state.calls.push_back(Arc::clone(call));
            }
        }
        state
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
