//! What the threads share: the schedule, the models and their sessions, and which of them stay loaded. No threads and no
//! clock; whoever changes it holds the lock of the pool.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use embed_core::{Error, ErrorKind};

use super::job::{EngineCall, ModelId, Untokenised};
use super::model::{EngineModel, Tokenise};
use super::pace::Pace;
use super::schedule::{ModelRun, QueueLimits, Removed, Schedule, Work};
use super::sessions::{Lent, Session, Sessions};
use crate::stats::Counters;

/// Opens a model that runs on this many threads.
pub(crate) type OpenModel = dyn Fn(NonZeroUsize) -> Result<Box<dyn EngineModel>, Error> + Send + Sync;

/// One of the models that share the workers: what doesn't change.
pub(super) struct PooledModel<T> {
    pub(super) id: ModelId,
    pub(super) tokenizer: Arc<T>,
    /// Windows that a text may have.
    pub(super) max_windows: usize,
    /// Opens a session.
    pub(super) open: Box<OpenModel>,
    /// The threads of the session on all cores, if there should be one.
    pub(super) all_core: Option<NonZeroUsize>,
    /// The times of texts on all cores and on one.
    pub(super) pace: Mutex<Pace>,
    /// How long it stays loaded after its last call; `None` for ever.
    pub(super) keep_alive: Option<Duration>,
    /// What it counts for in the budget while it is loaded.
    pub(super) bytes: u64,
    pub(super) counters: Arc<Counters>,
    /// Tells that a session is to be opened or has come back, or that the model is dropped.
    pub(super) changed: Condvar,
}

impl<T> PooledModel<T> {
    pub(super) fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Work for a worker, with what it takes.
pub(super) enum Job<T: Tokenise> {
    Tokenise(Arc<PooledModel<T>>, Vec<Untokenised<T::Text>>),
    Run(Arc<PooledModel<T>>, ModelRun, Lent),
}

/// Everything that the threads share.
pub(super) struct PoolState<T: Tokenise> {
    pub(super) schedule: Schedule<T::Text>,
    models: BTreeMap<ModelId, Hosted<T>>,
    workers: usize,
    /// Bytes of models that may be loaded while some of them are idle.
    budget: Option<u64>,
    /// Sleeping workers, the last one to fall asleep on top. It is woken first, because its weights are still in the
    /// processor's cache, which has no room for the weights of two sessions.
    pub(super) asleep: Vec<usize>,
    /// Whether a worker is awake without work, and waits a moment for some.
    pub(super) watched: bool,
    /// When the timer wakes.
    pub(super) alarm: Option<Instant>,
    pub(super) closed: bool,
}

struct Hosted<T> {
    model: Arc<PooledModel<T>>,
    sessions: Sessions,
    /// Whether it is being dropped.
    gone: bool,
}

impl<T: Tokenise> PoolState<T> {
    pub(super) fn new(workers: usize, limits: QueueLimits, budget: Option<u64>) -> Self {
        Self {
            schedule: Schedule::new(limits, workers),
            models: BTreeMap::new(),
            workers,
            budget,
            asleep: Vec::new(),
            watched: false,
            alarm: None,
            closed: false,
        }
    }

    /// Adds a model, which is to be loaded. Returns sessions of models that make room for it.
    pub(super) fn add(&mut self, model: &Arc<PooledModel<T>>, now: Instant) -> Vec<Session> {
        let mut sessions = Sessions::new(self.workers, model.all_core, now);
        sessions.want();
        self.models.insert(model.id, Hosted { model: Arc::clone(model), sessions, gone: false });
        self.keep_budget(model.id)
    }

    /// Begins to remove a model: nothing of it is opened any more, and its calls end.
    pub(super) fn leave(&mut self, id: ModelId) -> (Vec<Session>, Vec<Removed<T::Text>>) {
        let sessions = self.unload(id);
        if let Some(hosted) = self.models.get_mut(&id) {
            hosted.gone = true;
            hosted.model.changed.notify_all();
        }
        (sessions, self.schedule.clear(id))
    }

    /// Removes a model that no worker has a session of.
    pub(super) fn forget(&mut self, id: ModelId) {
        self.models.remove(&id);
        self.schedule.forget(id);
    }

    /// Whether nothing of a model is to be opened any more.
    pub(super) fn is_gone(&self, id: ModelId) -> bool {
        self.closed || self.models.get(&id).is_none_or(|hosted| hosted.gone)
    }

    /// A model that a worker has sessions of.
    pub(super) fn lent(&self, id: ModelId) -> Option<Arc<PooledModel<T>>> {
        let hosted = self.models.get(&id).filter(|hosted| hosted.sessions.is_lent());
        hosted.map(|hosted| Arc::clone(&hosted.model))
    }

    /// The sessions of a model.
    pub(super) fn sessions(&self, id: ModelId) -> Option<&Sessions> {
        self.models.get(&id).map(|hosted| &hosted.sessions)
    }

    /// The sessions of a model, to be changed; [`update`](Self::update) tells the schedule.
    pub(super) fn sessions_mut(&mut self, id: ModelId) -> Option<&mut Sessions> {
        self.models.get_mut(&id).map(|hosted| &mut hosted.sessions)
    }

    /// Tells the schedule how many sessions of a model work, and the model's thread that there may be some to open.
    pub(super) fn update(&mut self, id: ModelId) {
        let Some(hosted) = self.models.get(&id) else { return };
        self.schedule.set_sessions(id, hosted.sessions.open(), hosted.sessions.ragged());
        hosted.model.changed.notify_all();
    }

    /// Enqueues a call. If its model isn't loaded, it will be.
    ///
    /// # Errors
    ///
    /// Those of [`Schedule::push`], and why the model can't be used.
    pub(super) fn push(&mut self, call: Arc<EngineCall>) -> Result<(), Error> {
        let id = call.model;
        let Some(hosted) = self.models.get(&id) else {
            return Err(Error::new(ErrorKind::Unavailable, "the model was dropped"));
        };
        if let Some(error) = hosted.sessions.unavailable() {
            return Err(error.clone());
        }
        self.schedule.push(call)?;
        self.load_if_asked(id);
        Ok(())
    }

    /// Has a model loaded if somebody waits for it.
    pub(super) fn load_if_asked(&mut self, id: ModelId) {
        let Some(hosted) = self.models.get_mut(&id) else { return };
        if !hosted.gone && !hosted.sessions.is_wanted() && self.schedule.is_asked(id) {
            hosted.sessions.want();
            hosted.model.changed.notify_all();
        }
    }

    /// The next work for a worker.
    pub(super) fn next(&mut self) -> Option<Job<T>> {
        let work = self.schedule.take()?;
        self.job(work, true)
    }

    /// Work that goes before the rest of a long run of these calls.
    pub(super) fn next_ahead(&mut self, of: &[Arc<EngineCall>]) -> Option<Job<T>> {
        let Self { schedule, models, .. } = self;
        let has_all_core =
            |id| models.get(&id).is_some_and(|hosted: &Hosted<T>| hosted.sessions.has_all_core());
        let work = schedule.take_ahead(of, has_all_core)?;
        self.job(work, false)
    }

    fn job(&mut self, work: Work<T::Text>, one: bool) -> Option<Job<T>> {
        match work {
            Work::Tokenise(id, texts) => Some(Job::Tokenise(Arc::clone(&self.models.get(&id)?.model), texts)),
            Work::Run(run) => {
                let hosted = self.models.get_mut(&run.model)?;
                let lent = hosted.sessions.lend(one, !one || run.alone);
                Some(Job::Run(Arc::clone(&hosted.model), run, lent))
            }
        }
    }

    /// A worker has ended a run. Returns the sessions that it had, if they are to be closed, and whether another worker may wait
    /// for them.
    pub(super) fn ran(&mut self, id: ModelId, lent: Lent) -> (Option<Lent>, bool) {
        let is_waited_for = lent.is_whole_run() && self.schedule.ran(id);
        let Some(hosted) = self.models.get_mut(&id) else { return (Some(lent), false) };
        let before = hosted.sessions.open();
        let stale = hosted.sessions.take_back(lent).err();
        // Not after every run, because it wakes the thread of the model.
        if hosted.gone || hosted.sessions.open() < before {
            self.update(id);
        }
        (stale, is_waited_for)
    }

    /// Sessions that [`ran`](Self::ran) returned are closed.
    pub(super) fn closed(&mut self, id: ModelId) {
        if let Some(hosted) = self.models.get_mut(&id) {
            hosted.sessions.closed();
            hosted.model.changed.notify_all();
        }
    }

    /// A call of this model or a run has ended. If that was the last one, the model is idle from now on. Returns sessions of
    /// models that are unloaded.
    pub(super) fn ended(&mut self, id: ModelId, now: Instant) -> Vec<Session> {
        if !self.schedule.is_idle(id) {
            return Vec::new();
        }
        if let Some(hosted) = self.models.get_mut(&id) {
            hosted.sessions.rest(now);
        }
        self.keep_budget(id)
    }

    /// Unloads models until the budget is kept, of those that nobody uses the one first whose last call ended first. The model
    /// that was used last, or is about to be, stays, however large it is.
    pub(super) fn keep_budget(&mut self, stays: ModelId) -> Vec<Session> {
        let mut sessions = Vec::new();
        let Some(budget) = self.budget else { return sessions };
        loop {
            let loaded = self.models.values().filter(|hosted| hosted.sessions.is_wanted());
            let bytes = loaded.map(|hosted| hosted.model.bytes).fold(0, u64::saturating_add);
            let idle = self.models.values().filter(|hosted| hosted.model.id != stays && self.is_idle(hosted));
            let Some(first) = idle.min_by_key(|hosted| hosted.sessions.last_used()) else { break };
            if bytes <= budget {
                break;
            }
            let id = first.model.id;
            sessions.extend(self.unload(id));
        }
        sessions
    }

    /// Unloads the models that have been idle for as long as they may be at this time.
    pub(super) fn unload_idle(&mut self, now: Instant) -> Vec<Session> {
        let over = |hosted: &&Hosted<T>| self.ends_idle(hosted).is_some_and(|end| end <= now);
        let ids: Vec<_> = self.models.values().filter(over).map(|hosted| hosted.model.id).collect();
        ids.into_iter().flat_map(|id| self.unload(id)).collect()
    }

    /// Unloads a model. Its calls, if there are any, have it loaded again.
    pub(super) fn unload(&mut self, id: ModelId) -> Vec<Session> {
        let Some(hosted) = self.models.get_mut(&id) else { return Vec::new() };
        if hosted.sessions.open() > 0 {
            hosted.model.counters.unloaded();
        }
        let sessions = hosted.sessions.unload();
        self.update(id);
        self.load_if_asked(id);
        sessions
    }

    /// When the timer has something to do.
    pub(super) fn next_alarm(&self) -> Option<Instant> {
        let idle = self.models.values().filter_map(|hosted| self.ends_idle(hosted));
        idle.chain(self.schedule.next_deadline()).min()
    }

    /// When a model is unloaded, if it is idle.
    pub(super) fn idle_until(&self, id: ModelId) -> Option<Instant> {
        self.ends_idle(self.models.get(&id)?)
    }

    fn ends_idle(&self, hosted: &Hosted<T>) -> Option<Instant> {
        let keep_alive = hosted.model.keep_alive?;
        self.is_idle(hosted).then(|| hosted.sessions.last_used().checked_add(keep_alive)).flatten()
    }

    /// Whether a model is loaded and not used.
    fn is_idle(&self, hosted: &Hosted<T>) -> bool {
        hosted.sessions.open() > 0 && self.schedule.is_idle(hosted.model.id)
    }
}
