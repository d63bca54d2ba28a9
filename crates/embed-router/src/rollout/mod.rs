//! A running rollout: which partitions move, how the candidate performs, and when the rollout stops.

mod config;
mod meter;
mod share;
mod state;
mod status;

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use embed_core::{Error, ErrorKind, Result};

pub use config::{RolloutConfig, ShadowConfig, StopLimits};
pub use share::rollout_place;
pub use state::{RolloutFile, RolloutState, Stop};
pub use status::{Agreement, CallStatus, RolloutStatus, ShadowStatus};

pub(crate) use meter::{CallMeter, JudgedCall};

/// A running rollout, shared by the router and the program that controls it.
///
/// Included partitions move from the old route to the candidate; a stop moves all of them back at once, until a
/// percentage is set. To complete a rollout, make the candidate the route of the policy.
#[derive(Debug)]
pub struct Rollout {
    config: RolloutConfig,
    file: Option<RolloutFile>,
    state: Mutex<LiveState>,
    /// Held while the file is written, so that saving a stop doesn't overwrite a concurrent change.
    writing: Mutex<()>,
    /// The share of `state`, or [`STOPPED`], readable without the lock.
    share: AtomicU8,
    pub(crate) current: CallMeter,
    pub(crate) candidate: CallMeter,
}

/// Larger than any percentage.
const STOPPED: u8 = u8::MAX;

#[derive(Debug)]
struct LiveState {
    state: RolloutState,
    /// Why this process's stop isn't in the file: it is still being written, or writing failed.
    unsaved: Option<Error>,
}

impl Rollout {
    pub(crate) fn new(config: RolloutConfig) -> Result<Self> {
        config.check()?;
        let file = config.state_file.clone().map(RolloutFile::new);
        let first = RolloutState::of(&config);
        let state = file.as_ref().map_or_else(|| Ok(first.clone()), |file| file.open(first.clone()))?;
        Ok(Self {
            share: AtomicU8::new(word(&state)),
            state: Mutex::new(LiveState { state, unsaved: None }),
            writing: Mutex::default(),
            current: CallMeter::new(config.limits),
            candidate: CallMeter::new(config.limits),
            config,
            file,
        })
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &RolloutConfig {
        &self.config
    }

    /// Whether the candidate currently serves a partition.
    #[must_use]
    pub fn includes(&self, partition: &str) -> bool {
        let share = self.share.load(Ordering::Relaxed);
        share != STOPPED && share > 0 && rollout_place(&self.config.salt, partition) < share
    }

    /// The current state.
    #[must_use]
    pub fn state(&self) -> RolloutState {
        self.kept().state.clone()
    }

    /// Whether it is stopped.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.share.load(Ordering::Relaxed) == STOPPED
    }

    /// Whether the candidate currently serves any partition.
    pub(crate) fn serves(&self) -> bool {
        !matches!(self.share.load(Ordering::Relaxed), 0 | STOPPED)
    }

    /// Sets the percentage, here and in the state file, and lifts a stop.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](embed_core::ErrorKind::Config) above 100, or if the file can't be written. Nothing changes
    /// then.
    pub fn set_percentage(&self, percentage: u8) -> Result<()> {
        let _writing = self.writing();
        let mut kept = self.kept();
        let state = match &self.file {
            Some(file) => file.update(|state| state.set_percentage(percentage))?,
            None => {
                let mut state = kept.state.clone();
                state.set_percentage(percentage)?;
                state
            }
        };
        kept.unsaved = None;
        self.adopt(&mut kept, state);
        Ok(())
    }

    /// Stops the rollout: from the next request on, every partition uses the old route again.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](embed_core::ErrorKind::Config) if the state file can't be written; in this process the
    /// rollout is stopped nevertheless.
    pub fn stop(&self, reason: impl Into<String>) -> Result<()> {
        let reason = reason.into();
        self.stop_here(&reason);
        self.save_stop()
    }

    /// Reads the state file again, to pick up other processes' changes; true if something changed. A stop that isn't
    /// saved yet is saved first, so that the file's older state can't lift it.
    ///
    /// It blocks on the file's lock and the disk: in an async program, use [`follow`](Self::follow) or a thread that may
    /// block.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](embed_core::ErrorKind::Config) if the file can't be read, or the stop can't be saved.
    /// Nothing changes then.
    pub fn reload(&self) -> Result<bool> {
        let Some(file) = &self.file else {
            return Ok(false);
        };
        self.save_stop()?;
        let Some(state) = file.read()? else {
            return Ok(false);
        };
        let mut kept = self.kept();
        // A stop that came meanwhile is newer than the file's state.
        let changed = state != kept.state && kept.unsaved.is_none();
        if changed {
            self.adopt(&mut kept, state);
        }
        Ok(changed)
    }

    /// Reloads the state file periodically, to pick up the changes of the command `embed rollout`. It never ends: spawn
    /// it, and abort it with the router. If the file can't be read, nothing changes, and `trouble` gets the error each
    /// time.
    ///
    /// # Cancellation
    ///
    /// Dropping the future ends it.
    pub async fn follow(self: Arc<Self>, every: Duration, mut trouble: impl FnMut(&Error)) {
        loop {
            tokio::time::sleep(every).await;
            let this = Arc::clone(&self);
            // The file is small, but the disk may be slow, and another process may hold the lock.
            let reloaded = tokio::task::spawn_blocking(move || this.reload()).await;
            if let Ok(Err(error)) = reloaded {
                trouble(&error);
            }
        }
    }

    /// Adds a call of the candidate, and stops the rollout if a limit is exceeded.
    pub(crate) fn judge(self: &Arc<Self>, call: JudgedCall) {
        self.candidate.add(call);
        if let Some(reason) = self.candidate.verdict()
            && self.stop_here(&reason)
        {
            let this = Arc::clone(self);
            // An error is shown in the status, and `reload` tries again.
            let save = move || drop(this.save_stop());
            match tokio::runtime::Handle::try_current() {
                Ok(runtime) => drop(runtime.spawn_blocking(save)),
                Err(_) => save(),
            }
        }
    }

    /// Stops the rollout in this process; false if it is already stopped.
    fn stop_here(&self, reason: &str) -> bool {
        let mut kept = self.kept();
        if kept.state.stopped.is_some() {
            return false;
        }
        let mut state = kept.state.clone();
        state.stop(reason);
        self.adopt(&mut kept, state);
        if self.file.is_some() {
            kept.unsaved = Some(Error::new(ErrorKind::Config, "the stop is being written to the state file"));
        }
        true
    }

    /// Saves this process's stop, unless it is already saved.
    fn save_stop(&self) -> Result<()> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        let _writing = self.writing();
        let kept = self.kept();
        let stop = kept.state.stopped.clone().filter(|_| kept.unsaved.is_some());
        drop(kept);
        let Some(stop) = stop else {
            return Ok(());
        };
        let saved = file.update(|state| {
            state.stopped.get_or_insert(stop);
            Ok(())
        });
        let mut kept = self.kept();
        kept.unsaved = saved.as_ref().err().cloned();
        saved.map(drop)
    }

    fn adopt(&self, kept: &mut LiveState, state: RolloutState) {
        if kept.state.stopped.is_some() && state.stopped.is_none() {
            // A fresh start: the calls that stopped the rollout must not stop it again.
            self.candidate.forget();
        }
        self.share.store(word(&state), Ordering::Relaxed);
        kept.state = state;
    }

    pub(crate) fn status(&self, shadow: ShadowStatus) -> RolloutStatus {
        let kept = self.kept();
        let RolloutState { from, to, percentage, stopped, .. } = kept.state.clone();
        let unsaved = kept.unsaved.as_ref().map(ToString::to_string);
        drop(kept);
        let (current, candidate) = (self.current.status(), self.candidate.status());
        RolloutStatus { from, to, percentage, stopped, unsaved, current, candidate, shadow }
    }

    fn writing(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kept(&self) -> MutexGuard<'_, LiveState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn word(state: &RolloutState) -> u8 {
    if state.stopped.is_some() { STOPPED } else { state.percentage }
}
