//! The sessions of one model: which are free, which are with a worker, which are broken, and which is opened next.
//!
//! A model is *loaded* from its first session on. It has a session for each worker, and one on all cores if it should have
//! that. Each load has a number, so that a session that was away while its model was unloaded is closed when it comes back.

use std::num::NonZeroUsize;
use std::time::Instant;

use embed_core::Error;

use super::model::EngineModel;

/// A model that one thread uses at a time.
pub(super) type Session = Box<dyn EngineModel>;

/// The sessions of a model.
pub(super) struct Sessions {
    load: u64,
    /// Whether it is loaded or should be.
    wanted: bool,
    /// How many it has when all are open: one for each worker.
    most: usize,
    /// Those that work, here or with a worker.
    open: usize,
    /// Those that nobody uses, the one that was used last on top: its weights may still be in the processor's cache.
    free: Vec<Session>,
    /// Those that broke, or didn't open beside others, and are to be replaced.
    broken: usize,
    /// The error of the last attempt to replace them, if there is no other one.
    unavailable: Option<Error>,
    all_core_threads: Option<NonZeroUsize>,
    all_core: AllCore,
    /// Workers that have sessions of it, of whichever load.
    lent: usize,
    /// When its last call ended.
    last_used: Instant,
}

/// The session on all cores.
enum AllCore {
    /// There is none: there should be none, or it failed.
    Missing,
    Due,
    Free(Session),
    Lent,
}

/// What a worker has been given for a run. It takes out what broke, and returns the rest.
pub(super) struct Lent {
    /// The session of one thread, unless the run goes ahead of another one of this worker.
    pub(super) session: Option<Session>,
    /// The session on all cores, if the run may use it.
    pub(super) all_core: Option<Session>,
    load: u64,
    had: (bool, bool),
}

/// A session that is to be opened.
#[derive(Debug, Clone, Copy)]
pub(super) struct Opening {
    load: u64,
    /// Its threads.
    pub(super) threads: NonZeroUsize,
    /// Whether it is the first one of its load.
    pub(super) loads: bool,
    is_all_core: bool,
}

/// What follows when a session couldn't be opened.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Nothing: it isn't wanted any more, or the model works without it.
    Ignored,
    /// It is tried again after a pause, and the model works meanwhile.
    TriedAgain,
    /// It is tried again after a pause; until then the model can't be used.
    Unavailable,
    /// The model isn't loaded. The next call tries again.
    NotLoaded,
}

impl Lent {
    /// Whether the worker runs nothing else meanwhile.
    pub(super) fn is_whole_run(&self) -> bool {
        self.had.0
    }
}

impl Sessions {
    /// Sessions of a model that isn't loaded.
    pub(super) fn new(most: usize, all_core_threads: Option<NonZeroUsize>, now: Instant) -> Self {
        Self {
            load: 0,
            wanted: false,
            most,
            open: 0,
            free: Vec::new(),
            broken: 0,
            unavailable: None,
            all_core_threads,
            all_core: AllCore::Missing,
            lent: 0,
            last_used: now,
        }
    }

    /// Has the model loaded, if it isn't already.
    pub(super) fn want(&mut self) {
        if !self.wanted {
            self.wanted = true;
            self.all_core = if self.all_core_threads.is_some() { AllCore::Due } else { AllCore::Missing };
        }
    }

    /// What is to be opened next.
    pub(super) fn next_to_open(&self) -> Option<Opening> {
        if !self.wanted {
            return None;
        }
        let opening = Opening {
            load: self.load,
            threads: NonZeroUsize::MIN,
            loads: self.open == 0 && self.broken == 0,
            is_all_core: false,
        };
        if self.open < self.most {
            return Some(opening);
        }
        match (&self.all_core, self.all_core_threads) {
            (AllCore::Due, Some(threads)) => Some(Opening { threads, is_all_core: true, ..opening }),
            _ => None,
        }
    }

    /// Takes a session that was opened; it comes back if it isn't wanted any more.
    pub(super) fn opened(&mut self, opening: Opening, session: Session) -> Result<(), Session> {
        if opening.load != self.load {
            return Err(session);
        }
        if opening.is_all_core {
            self.all_core = AllCore::Free(session);
            return Ok(());
        }
        self.open += 1;
        self.broken = self.broken.min(self.most - self.open);
        self.unavailable = None;
        self.free.push(session);
        Ok(())
    }

    /// A session couldn't be opened.
    pub(super) fn failed(&mut self, opening: Opening, error: &Error) -> Failure {
        if opening.load != self.load {
            return Failure::Ignored;
        }
        if opening.is_all_core {
            self.all_core = AllCore::Missing;
            return Failure::Ignored;
        }
        match (self.open, self.broken) {
            (0, 0) => {
                self.wanted = false;
                Failure::NotLoaded
            }
            (0, _) => {
                self.unavailable = Some(error.clone());
                Failure::Unavailable
            }
            (open, _) => {
                self.broken = self.most - open;
                Failure::TriedAgain
            }
        }
    }

    /// Unloads the model. What is with workers is closed when it comes back.
    pub(super) fn unload(&mut self) -> Vec<Session> {
        self.load += 1;
        self.wanted = false;
        (self.open, self.broken) = (0, 0);
        self.unavailable = None;
        let mut sessions = std::mem::take(&mut self.free);
        if let AllCore::Free(session) = std::mem::replace(&mut self.all_core, AllCore::Missing) {
            sessions.push(session);
        }
        sessions
    }

    /// Sessions for a run.
    pub(super) fn lend(&mut self, one: bool, all_core: bool) -> Lent {
        let session = if one { self.free.pop() } else { None };
        let all_core = match &mut self.all_core {
            state @ AllCore::Free(_) if all_core => match std::mem::replace(state, AllCore::Lent) {
                AllCore::Free(session) => Some(session),
                _ => None,
            },
            _ => None,
        };
        self.lent += 1;
        let had = (session.is_some(), all_core.is_some());
        Lent { session, all_core, load: self.load, had }
    }

    /// Takes sessions back after a run, and counts those that are missing. They are handed on if the model was unloaded
    /// meanwhile; whoever closes them says so with [`closed`](Self::closed).
    pub(super) fn take_back(&mut self, lent: Lent) -> Result<(), Lent> {
        if lent.load != self.load {
            return Err(lent);
        }
        self.lent -= 1;
        match lent.session {
            Some(session) => self.free.push(session),
            None if lent.had.0 => {
                self.open -= 1;
                self.broken += 1;
            }
            None => {}
        }
        match lent.all_core {
            Some(session) => self.all_core = AllCore::Free(session),
            // It isn't replaced: the workers do without it.
            None if lent.had.1 => self.all_core = AllCore::Missing,
            None => {}
        }
        Ok(())
    }

    /// Sessions of an earlier load have been closed.
    pub(super) fn closed(&mut self) {
        self.lent -= 1;
    }

    /// Its last call has ended.
    pub(super) fn rest(&mut self, now: Instant) {
        self.last_used = now;
    }

    /// Whether it is loaded or should be.
    pub(super) fn is_wanted(&self) -> bool {
        self.wanted
    }

    /// Those that work.
    pub(super) fn open(&self) -> usize {
        self.open
    }

    /// Whether windows of several texts can share a run, as far as that is known.
    pub(super) fn ragged(&self) -> Option<bool> {
        self.free.last().map(|session| session.ragged())
    }

    /// Whether the session on all cores is free.
    pub(super) fn has_all_core(&self) -> bool {
        matches!(self.all_core, AllCore::Free(_))
    }

    /// Those that broke and aren't replaced yet.
    pub(super) fn broken(&self) -> usize {
        self.broken
    }

    /// Why the model can't be used.
    pub(super) fn unavailable(&self) -> Option<&Error> {
        self.unavailable.as_ref()
    }

    /// Whether a worker has a session of it.
    pub(super) fn is_lent(&self) -> bool {
        self.lent > 0
    }

    /// When its last call ended.
    pub(super) fn last_used(&self) -> Instant {
        self.last_used
    }
}
