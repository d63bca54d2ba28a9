//! The [state](super::state) behind its lock: who waits for what, and who is woken. What is taken out of the state is dropped
//! and answered without the lock.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use embed_core::{Error, ErrorKind};

use super::job::{EngineCall, ModelId, Piece, Untokenised};
use super::model::{Tokenise, WorkFailure, caught};
use super::schedule::{QueueLimits, Removed};
use super::sessions::{Failure, Lent, Opening, Session, Sessions};
use super::state::{Job, PoolState, PooledModel};
use crate::allocator;

/// The shortest and the longest pause before a session is tried again that didn't open.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How long a worker without work looks for some before it sleeps. It takes the system a large part of a short text's time to
/// wake a thread, and a caller that has its answer often comes back at once.
const WATCH: Duration = Duration::from_micros(100);

/// What the threads share.
pub(super) struct Pool<T: Tokenise> {
    state: Mutex<PoolState<T>>,
    /// Counts what the worker that watches is to look at.
    signals: AtomicUsize,
    /// What each worker sleeps on.
    wake: Vec<Condvar>,
    /// What the timer sleeps on.
    timer: Condvar,
}

impl<T: Tokenise> Pool<T> {
    pub(super) fn new(workers: NonZeroUsize, limits: QueueLimits, budget: Option<u64>) -> Self {
        Self {
            state: Mutex::new(PoolState::new(workers.get(), limits, budget)),
            signals: AtomicUsize::new(0),
            wake: (0..workers.get()).map(|_| Condvar::new()).collect(),
            timer: Condvar::new(),
        }
    }

    /// Workers.
    pub(super) fn workers(&self) -> usize {
        self.wake.len()
    }

    /// Adds a model and opens a session for each worker, all at the same time.
    pub(super) fn add(&self, model: &Arc<PooledModel<T>>) -> Result<(), Error> {
        let mut state = self.state();
        let evicted = state.add(model, Instant::now());
        let opening = state.sessions(model.id).and_then(Sessions::next_to_open);
        drop(state);
        close(evicted);
        let opened: Result<Vec<_>, _> = thread::scope(|scope| {
            let further: Vec<_> =
                (1..self.workers()).map(|_| scope.spawn(|| open(model, NonZeroUsize::MIN))).collect();
            let died =
                |_| Err(Error::new(ErrorKind::Unavailable, "a thread of the engine died at the start"));
            let first = std::iter::once(open(model, NonZeroUsize::MIN));
            first.chain(further.into_iter().map(|thread| thread.join().unwrap_or_else(died))).collect()
        });
        let (opened, Some(opening)) = (opened?, opening) else { return Ok(()) };
        model.counters.loaded();
        opened.into_iter().for_each(|session| self.opened(model.id, opening, session));
        Ok(())
    }

    /// Removes a model and its calls, and waits until the runs in progress have ended and its sessions are closed.
    pub(super) fn forget(&self, id: ModelId) {
        let (sessions, calls) = self.state().leave(id);
        close(sessions);
        end(calls);
        let mut state = self.state();
        while let Some(model) = state.lent(id) {
            state = model.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.forget(id);
    }

    /// Enqueues a call.
    pub(super) fn push(&self, call: Arc<EngineCall>) -> Result<(), Error> {
        let (texts, deadline) = (call.texts.len(), call.deadline.instant());
        if texts == 0 {
            return Ok(());
        }
        let mut state = self.state();
        state.push(call)?;
        self.set_alarm(&mut state, deadline);
        self.wake(state, texts);
        Ok(())
    }

    /// Removes a call that nobody waits for.
    pub(super) fn remove(&self, call: &Arc<EngineCall>) {
        let mut state = self.state();
        let removed = state.schedule.remove(call);
        let unloaded = self.ended(&mut state, call.model);
        drop(state);
        drop(removed);
        close(unloaded);
    }

    /// Waits for work; `None` when the pool is closed.
    pub(super) fn next(&self, worker: usize) -> Option<Job<T>> {
        let mut state = self.state();
        let mut watched = false;
        loop {
            if state.closed {
                return None;
            }
            if let Some(job) = state.next() {
                return Some(job);
            }
            if !watched && !state.watched {
                state.watched = true;
                watched = true;
                let signals = self.signals.load(Ordering::Acquire);
                drop(state);
                self.watch(signals);
                state = self.state();
                state.watched = false;
                continue;
            }
            state.asleep.push(worker);
            while state.asleep.contains(&worker) {
                state = self.wake[worker].wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// Waits for a moment until there is a further signal. Whoever else wants the processor has it.
    fn watch(&self, signals: usize) {
        let begun = Instant::now();
        while self.signals.load(Ordering::Acquire) == signals && begun.elapsed() < WATCH {
            thread::yield_now();
        }
    }

    /// Work that goes before the rest of a long run of these calls.
    pub(super) fn next_ahead(&self, of: &[Arc<EngineCall>]) -> Option<Job<T>> {
        self.state().next_ahead(of)
    }

    /// A worker has tokenised texts: see [`Schedule::tokenised`](super::schedule::Schedule::tokenised).
    pub(super) fn tokenised(
        &self,
        (model, taken): (ModelId, usize),
        done: Vec<Piece>,
        begun: Vec<Untokenised<T::Text>>,
    ) {
        // No more workers than windows, since one that wakes for nothing takes a core from one that works.
        let more = done.len().saturating_sub(1);
        let mut state = self.state();
        let late = state.schedule.tokenised((model, taken), done, begun);
        state.load_if_asked(model);
        self.wake(state, more);
        drop(late);
    }

    /// Windows that failed together run again, each alone.
    pub(super) fn put_back(&self, model: ModelId, pieces: Vec<Piece>) {
        let count = pieces.len();
        let mut state = self.state();
        let late = state.schedule.put_back(pieces);
        state.load_if_asked(model);
        self.wake(state, count);
        drop(late);
    }

    /// A worker has ended a run, and returns the sessions that it had for it.
    pub(super) fn ran(&self, id: ModelId, lent: Lent) {
        let mut state = self.state();
        let (stale, is_waited_for) = state.ran(id, lent);
        let unloaded = self.ended(&mut state, id);
        self.wake(state, is_waited_for.into());
        close(unloaded);
        if let Some(stale) = stale {
            drop(stale);
            self.state().closed(id);
        }
    }

    /// Whether a model has a session.
    pub(super) fn is_loaded(&self, id: ModelId) -> bool {
        self.state().sessions(id).is_some_and(|sessions| sessions.open() > 0)
    }

    /// Sessions of a model that are broken and not yet replaced.
    pub(super) fn broken(&self, id: ModelId) -> usize {
        self.state().sessions(id).map_or(0, Sessions::broken)
    }

    /// Closes the sessions of a model, those in use as soon as their runs end.
    pub(super) fn unload(&self, id: ModelId) {
        let sessions = self.state().unload(id);
        close(sessions);
    }

    /// The main function of the timer: ends calls whose deadline is over, even while every worker is busy, and unloads models
    /// that nobody uses.
    pub(super) fn keep_time(&self) {
        loop {
            self.expire(Instant::now());
            let mut state = self.state();
            if state.closed {
                return;
            }
            state.alarm = state.next_alarm();
            match state.alarm.map(|alarm| alarm.saturating_duration_since(Instant::now())) {
                Some(pause) => drop(self.timer.wait_timeout(state, pause)),
                None => drop(self.timer.wait(state)),
            }
        }
    }

    /// Does what is due at this time: ends calls whose deadline is over, and unloads models that were idle for long enough.
    pub(super) fn expire(&self, now: Instant) {
        let mut state = self.state();
        let expired = state.schedule.expire(now);
        let unloaded = state.unload_idle(now);
        drop(state);
        end(expired);
        close(unloaded);
    }

    /// The main function of a model's own thread: opens its sessions, when it is to be loaded and when one broke, until it is
    /// dropped. While one can't be replaced it is tried again with growing pauses; a load that fails fails the calls that
    /// wait for it, and the next one tries again.
    pub(super) fn keep_open(&self, model: &PooledModel<T>) {
        let mut pause = FIRST_PAUSE;
        while let Some(opening) = self.next_to_open(model) {
            match open(model, opening.threads) {
                Ok(session) => {
                    if opening.loads {
                        model.counters.loaded();
                    }
                    self.opened(model.id, opening, session);
                    pause = FIRST_PAUSE;
                }
                Err(error) => {
                    if self.failed(model.id, opening, &error) {
                        self.pause(model, pause);
                        pause = (pause * 2).min(LONGEST_PAUSE);
                    }
                }
            }
        }
    }

    /// Ends the threads.
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.asleep.clear();
        drop(state);
        self.wake.iter().for_each(Condvar::notify_one);
        self.timer.notify_one();
    }

    /// Waits until a session is to be opened; `None` when the model is dropped. Others make room for a model that is loaded.
    fn next_to_open(&self, model: &PooledModel<T>) -> Option<Opening> {
        let mut state = self.state();
        loop {
            if state.is_gone(model.id) {
                return None;
            }
            if let Some(opening) = state.sessions(model.id)?.next_to_open() {
                let evicted = if opening.loads { state.keep_budget(model.id) } else { Vec::new() };
                drop(state);
                close(evicted);
                return Some(opening);
            }
            state = model.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn opened(&self, id: ModelId, opening: Opening, session: Session) {
        let mut state = self.state();
        let unwanted = match state.sessions_mut(id) {
            Some(sessions) => sessions.opened(opening, session).err(),
            None => Some(session),
        };
        state.update(id);
        self.wake(state, 1);
        drop(unwanted);
    }

    /// A session didn't open. Returns whether it is tried again.
    fn failed(&self, id: ModelId, opening: Opening, error: &Error) -> bool {
        let mut state = self.state();
        let failure =
            state.sessions_mut(id).map_or(Failure::Ignored, |sessions| sessions.failed(opening, error));
        let calls = match failure {
            Failure::Unavailable | Failure::NotLoaded => state.schedule.clear(id),
            Failure::Ignored | Failure::TriedAgain => Vec::new(),
        };
        drop(state);
        calls.iter().for_each(|removed| removed.call.fail(error));
        drop(calls);
        matches!(failure, Failure::Unavailable | Failure::TriedAgain)
    }

    /// Waits for this long, or until the model is dropped.
    fn pause(&self, model: &PooledModel<T>, pause: Duration) {
        let until = Instant::now() + pause;
        let mut state = self.state();
        while !state.is_gone(model.id) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = model.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// A call of this model or a run has ended.
    fn ended(&self, state: &mut PoolState<T>, id: ModelId) -> Vec<Session> {
        let unloaded = state.ended(id, Instant::now());
        let ends_idle = state.idle_until(id);
        self.set_alarm(state, ends_idle);
        unloaded
    }

    /// Has the timer wake at this time, or before.
    fn set_alarm(&self, state: &mut PoolState<T>, at: Option<Instant>) {
        if let Some(at) = at
            && state.alarm.is_none_or(|alarm| at < alarm)
        {
            state.alarm = Some(at);
            self.timer.notify_one();
        }
    }

    /// Wakes sleeping workers, at most `most` and none without work, once the lock is released.
    fn wake(&self, mut state: MutexGuard<'_, PoolState<T>>, most: usize) {
        if most == 0 || !state.schedule.has_work() {
            return;
        }
        // The one that watches needs no waking.
        let watches = std::mem::take(&mut state.watched);
        if watches {
            self.signals.fetch_add(1, Ordering::Release);
        }
        let awake = state.asleep.len().saturating_sub(most - usize::from(watches));
        let woken = state.asleep.split_off(awake);
        drop(state);
        woken.into_iter().for_each(|worker| self.wake[worker].notify_one());
    }

    fn state(&self) -> MutexGuard<'_, PoolState<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens a session of a model.
fn open<T>(model: &PooledModel<T>, threads: NonZeroUsize) -> Result<Session, Error> {
    caught(|| (model.open)(threads)).map_err(|fault| match fault {
        WorkFailure::Failed(error) => error,
        WorkFailure::Panicked => Error::new(ErrorKind::Unavailable, "the model panicked while it was opened"),
    })
}

/// Closes sessions, and gives their memory back to the system.
fn close(sessions: Vec<Session>) {
    if !sessions.is_empty() {
        drop(sessions);
        allocator::trim();
    }
}

/// Tells callers that no more rows will come.
fn end<S>(removed: Vec<Removed<S>>) {
    removed.iter().for_each(|removed| removed.call.end());
}
