//! The threads around the [schedule](super::schedule). Each has its own model, and replaces it if it breaks.
//!
//! One more thread ends calls whose deadline is over, and another one opens the all-core model.

use std::num::NonZeroUsize;
use std::rc::Rc;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use embed_core::{Error, ErrorKind};

use super::job::{EngineCall, Piece, Untokenised, pieces};
use super::model::{EngineModel, Ragged, Tokenise, WorkFailure, caught};
use super::schedule::{BYTES_OF_A_STEP, ModelRun, QueueLimits, Removed, Schedule, TOKENS_OF_A_RUN, Work};
use crate::preempt;

/// The shortest and the longest pause before a worker tries again to open a model.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Opens a model that runs on this many threads.
pub(crate) type OpenModel = dyn Fn(NonZeroUsize) -> Result<Box<dyn EngineModel>, Error> + Send + Sync;

/// What the threads of an engine share.
pub(super) struct Pool<T: Tokenise> {
    state: Mutex<PoolState<T::Text>>,
    /// What each worker sleeps on.
    wake: Vec<Condvar>,
    /// What the timer sleeps on.
    timer: Condvar,
    tokenizer: Arc<T>,
    max_windows: usize,
    open: Box<OpenModel>,
    /// The all-core model, for a text that comes alone, if it is open.
    all_core: Mutex<Option<Box<dyn EngineModel>>>,
}

struct PoolState<S> {
    schedule: Schedule<S>,
    /// Sleeping workers, the last one to fall asleep on top. It is woken first, because its weights are still in the
    /// processor's cache, which has no room for the weights of two sessions.
    asleep: Vec<usize>,
    /// Workers without a model.
    broken: usize,
    /// The error of the last attempt to open a model, if no worker has one.
    unavailable: Option<Error>,
    /// When the timer wakes.
    alarm: Option<Instant>,
    closed: bool,
}

/// The parts that a pool is made of.
pub(super) struct PoolParts<T> {
    pub(super) workers: NonZeroUsize,
    pub(super) limits: QueueLimits,
    pub(super) max_windows: usize,
    pub(super) tokenizer: Arc<T>,
    pub(super) open: Box<OpenModel>,
}

impl<T: Tokenise> Pool<T> {
    pub(super) fn new(parts: PoolParts<T>) -> Self {
        let workers = parts.workers.get();
        Self {
            state: Mutex::new(PoolState {
                schedule: Schedule::new(parts.limits, workers),
                asleep: Vec::new(),
                broken: 0,
                unavailable: None,
                alarm: None,
                closed: false,
            }),
            wake: (0..workers).map(|_| Condvar::new()).collect(),
            timer: Condvar::new(),
            tokenizer: parts.tokenizer,
            max_windows: parts.max_windows,
            open: parts.open,
            all_core: Mutex::new(None),
        }
    }

    pub(super) fn push(&self, call: Arc<EngineCall>) -> Result<(), Error> {
        let (texts, deadline) = (call.texts.len(), call.deadline.instant());
        if texts == 0 {
            return Ok(());
        }
        let mut state = self.state();
        if let Some(error) = &state.unavailable {
            return Err(error.clone());
        }
        state.schedule.push(call)?;
        if let Some(deadline) = deadline
            && state.alarm.is_none_or(|alarm| deadline < alarm)
        {
            state.alarm = Some(deadline);
            self.timer.notify_one();
        }
        self.wake(state, texts);
        Ok(())
    }

    /// Removes a call that nobody waits for.
    pub(super) fn remove(&self, call: &Arc<EngineCall>) {
        let removed = self.state().schedule.remove(call);
        drop(removed);
    }

    /// Workers without a model.
    pub(super) fn broken(&self) -> usize {
        self.state().broken
    }

    pub(super) fn workers(&self) -> usize {
        self.wake.len()
    }

    /// Ends the threads and all waiting calls.
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.asleep.clear();
        let removed = state.schedule.clear();
        drop(state);
        end(removed);
        self.wake.iter().for_each(Condvar::notify_one);
        self.timer.notify_one();
    }

    /// The main function of a worker. It reports once whether its first model opened.
    pub(super) fn work(self: &Arc<Self>, number: usize, report: &Sender<Result<(), Error>>) {
        let mut model = match self.open_model(NonZeroUsize::MIN) {
            Ok(model) => model,
            Err(error) => {
                let _ = report.send(Err(error));
                return;
            }
        };
        let _ = report.send(Ok(()));
        while let Some(work) = self.next(number, model.ragged()) {
            match work {
                Work::Tokenise(texts) => self.tokenise(texts),
                Work::Run(run) => {
                    if self.run(run, model.as_mut()).is_err() {
                        // After a panic, the state of the model can't be trusted.
                        drop(model);
                        let Some(new) = self.reopen(number) else { return };
                        model = new;
                    }
                }
            }
        }
    }

    /// The main function of the timer: ends calls whose deadline is over, even while every worker is busy.
    pub(super) fn keep_time(&self) {
        loop {
            self.expire(Instant::now());
            let mut state = self.state();
            if state.closed {
                return;
            }
            state.alarm = state.schedule.next_deadline();
            match state.alarm.map(|alarm| alarm.saturating_duration_since(Instant::now())) {
                Some(pause) => drop(self.timer.wait_timeout(state, pause)),
                None => drop(self.timer.wait(state)),
            }
        }
    }

    /// Ends calls whose deadline is over at this time.
    pub(super) fn expire(&self, now: Instant) {
        let expired = self.state().schedule.expire(now);
        end(expired);
    }

    /// Opens the all-core model. If that fails, the pool works without it.
    pub(super) fn open_all_core(&self, threads: NonZeroUsize) {
        let model = self.open_model(threads).ok();
        // Waits for a worker that is just checking whether there is one.
        *self.all_core.lock().unwrap_or_else(PoisonError::into_inner) = model;
    }

    /// Waits for work; `None` when the pool is closed.
    fn next(&self, worker: usize, ragged: bool) -> Option<Work<T::Text>> {
        let mut state = self.state();
        loop {
            if state.closed {
                return None;
            }
            if let Some(work) = state.schedule.take(ragged) {
                return Some(work);
            }
            state.asleep.push(worker);
            while state.asleep.contains(&worker) {
                state = self.wake[worker].wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// Tokenises texts: short ones completely, a long one by one step.
    fn tokenise(&self, texts: Vec<Untokenised<T::Text>>) {
        let taken = texts.len();
        let (mut done, mut begun) = (Vec::new(), Vec::new());
        for mut text in texts.into_iter().filter(|text| !text.slot.call().is_over()) {
            match caught(|| self.step(&mut text)).map_err(WorkFailure::into_error) {
                Ok(Some(tokens)) => done.extend(pieces(text.slot, tokens)),
                Ok(None) => begun.push(text),
                Err(error) => text.slot.answer(Err(error)),
            }
        }
        // No more workers than windows, since one that wakes for nothing takes a core from one that works.
        let more = done.len().saturating_sub(1);
        let mut state = self.state();
        let late = state.schedule.tokenised(taken, done, begun);
        self.wake(state, more);
        drop(late);
    }

    fn step(
        &self,
        text: &mut Untokenised<T::Text>,
    ) -> Result<Option<crate::tokenizer::TokenisedText>, Error> {
        let state = match &mut text.state {
            Some(state) => state,
            state => {
                let call = text.slot.call();
                let begun = self.tokenizer.begin(Arc::clone(text.slot.text()), call.role, call.truncation)?;
                state.insert(begun)
            }
        };
        let tokens = self.tokenizer.advance(state, BYTES_OF_A_STEP)?;
        match &tokens {
            Some(tokens) if tokens.windows.is_empty() => {
                Err(Error::new(ErrorKind::Internal, "a text was cut into no windows"))
            }
            Some(tokens) if tokens.windows.len() > self.max_windows => {
                let what = "the text has more windows than it may; split it, or raise max_windows";
                Err(Error::new(ErrorKind::InputTooLong, what)
                    .with_context("windows", tokens.windows.len())
                    .with_context("limit", self.max_windows))
            }
            _ => Ok(tokens),
        }
    }

    /// Runs windows on the all-core model, if nothing else is to be done, or else on the worker's model. An error means that
    /// the worker's model panicked.
    fn run(self: &Arc<Self>, run: ModelRun, model: &mut dyn EngineModel) -> Result<(), ()> {
        let means = run.alone.then(|| self.run_on_all_cores(&run.pieces)).flatten();
        // If it failed on all cores, it is tried again on one.
        let means = means.map_or_else(|| self.run_giving_way(model, &run.pieces), Ok);
        let panicked = matches!(means, Err(WorkFailure::Panicked));
        // Before the answer is given, because the caller's next text may come before this worker sleeps.
        self.ran(panicked);
        match means {
            Ok(means) => answer(run.pieces, means),
            // One of them may have caused the failure of the others.
            Err(_) if run.pieces.len() > 1 => self.put_back(run.pieces),
            Err(fault) => {
                let error = fault.into_error();
                run.pieces.into_iter().for_each(|piece| piece.answer(Err(error.clone())));
            }
        }
        if panicked { Err(()) } else { Ok(()) }
    }

    /// Runs windows. During a long run, short texts of other calls go first if no worker is free for them.
    fn run_giving_way(
        self: &Arc<Self>,
        model: &mut dyn EngineModel,
        pieces: &[Piece],
    ) -> Result<Vec<Vec<f32>>, WorkFailure> {
        if pieces.iter().map(Piece::tokens).sum::<usize>() <= TOKENS_OF_A_RUN {
            return run_on(model, pieces);
        }
        let pool = Arc::clone(self);
        let calls: Vec<_> = pieces.iter().map(|piece| Arc::clone(piece.call())).collect();
        preempt::with_points(Rc::new(move || pool.give_way(&calls)), || run_on(model, pieces))
    }

    /// Runs short texts during a long run of these calls, in the all-core model, which is idle while all workers are busy.
    fn give_way(&self, calls: &[Arc<EngineCall>]) {
        let Ok(mut all_core) = self.all_core.try_lock() else { return };
        let Some(model) = all_core.as_deref_mut() else { return };
        let ragged = model.ragged();
        let next = || self.state().schedule.take_ahead(calls, ragged);
        while let Some(work) = next() {
            let run = match work {
                Work::Tokenise(texts) => {
                    self.tokenise(texts);
                    continue;
                }
                Work::Run(run) => run,
            };
            let means = run_on(model, &run.pieces);
            self.ran(false);
            match means {
                Ok(means) => answer(run.pieces, means),
                // It is tried again on one core.
                Err(fault) => {
                    self.put_back(run.pieces);
                    if matches!(fault, WorkFailure::Panicked) {
                        *all_core = None;
                    }
                }
            }
            return;
        }
    }

    fn run_on_all_cores(&self, pieces: &[Piece]) -> Option<Vec<Vec<f32>>> {
        let mut all_core = self.all_core.try_lock().ok()?;
        let means = run_on(all_core.as_deref_mut()?, pieces);
        if matches!(means, Err(WorkFailure::Panicked)) {
            // It isn't replaced: the workers do without it.
            *all_core = None;
        }
        means.ok()
    }

    fn put_back(&self, pieces: Vec<Piece>) {
        let count = pieces.len();
        let mut state = self.state();
        let late = state.schedule.put_back(pieces);
        self.wake(state, count);
        drop(late);
    }

    fn ran(&self, broke: bool) {
        let mut state = self.state();
        state.schedule.ran();
        if broke {
            state.broken += 1;
            let working = self.workers() - state.broken;
            state.schedule.set_workers(working);
        }
    }

    /// A new model for a worker, as soon as one can be opened; `None` when the pool is closed. While no worker has a model
    /// and none can be opened, calls fail.
    fn reopen(&self, worker: usize) -> Option<Box<dyn EngineModel>> {
        let mut pause = FIRST_PAUSE;
        loop {
            let opened = self.open_model(NonZeroUsize::MIN);
            let mut state = self.state();
            match opened {
                Ok(model) => {
                    state.broken -= 1;
                    state.unavailable = None;
                    let working = self.workers() - state.broken;
                    state.schedule.set_workers(working);
                    return Some(model);
                }
                Err(error) if state.broken == self.workers() => {
                    state.unavailable = Some(error.clone());
                    let waiting = state.schedule.clear();
                    drop(state);
                    waiting.iter().for_each(|removed| removed.call.fail(&error));
                    drop(waiting);
                    state = self.state();
                }
                Err(_) => {}
            }
            let until = Instant::now() + pause;
            while !state.closed {
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                let woken = self.wake[worker].wait_timeout(state, left);
                state = woken.unwrap_or_else(PoisonError::into_inner).0;
            }
            if state.closed {
                return None;
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn open_model(&self, threads: NonZeroUsize) -> Result<Box<dyn EngineModel>, Error> {
        caught(|| (self.open)(threads)).map_err(|fault| match fault {
            WorkFailure::Failed(error) => error,
            WorkFailure::Panicked => {
                Error::new(ErrorKind::Unavailable, "the model panicked while it was opened")
            }
        })
    }

    /// Wakes sleeping workers, at most `most` and none without work, once the lock is released.
    fn wake(&self, mut state: MutexGuard<'_, PoolState<T::Text>>, most: usize) {
        if !state.schedule.has_work() {
            return;
        }
        let awake = state.asleep.len().saturating_sub(most);
        let woken = state.asleep.split_off(awake);
        drop(state);
        woken.into_iter().for_each(|worker| self.wake[worker].notify_one());
    }

    fn state(&self) -> MutexGuard<'_, PoolState<T::Text>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells callers that no more rows will come.
fn end<S>(removed: Vec<Removed<S>>) {
    removed.iter().for_each(|removed| removed.call.end());
}

fn answer(pieces: Vec<Piece>, means: Vec<Vec<f32>>) {
    pieces.into_iter().zip(means).for_each(|(piece, mean)| piece.answer(Ok(mean)));
}

fn run_on(model: &mut dyn EngineModel, pieces: &[Piece]) -> Result<Vec<Vec<f32>>, WorkFailure> {
    caught(|| {
        let batch = Ragged { windows: pieces.iter().map(|piece| &*piece.ids).collect() };
        let means = model.run(&batch)?;
        if means.len() == pieces.len() {
            return Ok(means);
        }
        Err(Error::new(ErrorKind::Internal, "a run gave another number of vectors than it has windows"))
    })
}
