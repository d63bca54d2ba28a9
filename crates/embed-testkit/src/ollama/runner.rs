//! Loading, unloading and the life of the model.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::lock::lock;

/// The process that holds the model.
#[derive(Debug, Default)]
pub(super) struct Runner {
    state: Mutex<RunnerState>,
    /// Held by the request that loads the model; the others wait for it.
    loading: tokio::sync::Mutex<()>,
    loads: AtomicUsize,
    aborted: AtomicUsize,
}

#[derive(Debug, Default)]
struct RunnerState {
    loading: bool,
    loaded: bool,
    /// When it is unloaded; unset until the first request has ended.
    expires: Option<Instant>,
    /// How long it is kept after a request; `None` for ever.
    keep: Option<Duration>,
    num_ctx: Option<i64>,
    num_batch: Option<i64>,
}

/// What `/api/ps` says of the model.
pub(super) enum Life {
    Cold,
    /// Loaded or loading, and kept for this long from now.
    Expires(Duration, Stability),
}

/// Whether the time at which the model is unloaded is fixed.
#[derive(PartialEq, Eq)]
pub(super) enum Stability {
    Fixed(Instant),
    FromNow,
}

/// Counts an aborted load unless the load ends.
struct Abort<'a>(&'a Runner, bool);

impl Drop for Abort<'_> {
    fn drop(&mut self) {
        lock(&self.0.state).loading = false;
        if !self.1 {
            self.0.aborted.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Runner {
    pub(super) fn loads(&self) -> usize {
        self.loads.load(Ordering::SeqCst)
    }

    pub(super) fn aborted_loads(&self) -> usize {
        self.aborted.load(Ordering::SeqCst)
    }

    pub(super) fn unload(&self) {
        *lock(&self.state) = RunnerState::default();
    }

    fn is_loaded(&self, options: (Option<i64>, Option<i64>)) -> bool {
        let mut state = lock(&self.state);
        if state.expires.is_some_and(|expires| Instant::now() >= expires) {
            *state = RunnerState::default();
        }
        state.loaded && (state.num_ctx, state.num_batch) == options
    }

    /// Waits until the model is loaded with these options, and loads it if no other request does. Returns how long that
    /// took. A request that is dropped while it loads aborts the load.
    pub(super) async fn ensure(
        &self,
        load_time: Duration,
        keep: Option<Duration>,
        options: (Option<i64>, Option<i64>),
    ) -> Duration {
        let began = Instant::now();
        if !self.is_loaded(options) {
            let _turn = self.loading.lock().await;
            if !self.is_loaded(options) {
                self.loads.fetch_add(1, Ordering::SeqCst);
                {
                    let mut state = lock(&self.state);
                    state.loading = true;
                    state.loaded = false;
                    state.expires = None;
                    state.keep = keep;
                }
                let mut abort = Abort(self, false);
                tokio::time::sleep(load_time).await;
                abort.1 = true;
                let mut state = lock(&self.state);
                state.loaded = true;
                (state.num_ctx, state.num_batch) = options;
            }
        }
        began.elapsed()
    }

    /// A request ended: the keep-alive of the model is counted from now.
    pub(super) fn used(&self, keep: Option<Duration>) {
        let mut state = lock(&self.state);
        state.keep = keep;
        match keep {
            Some(Duration::ZERO) => *state = RunnerState::default(),
            Some(keep) => state.expires = Some(Instant::now() + keep),
            None => state.expires = Some(Instant::now() + Duration::from_secs(3600 * 24 * 365 * 100)),
        }
    }

    pub(super) fn life(&self, lists_loading: bool) -> Life {
        let state = lock(&self.state);
        let now = Instant::now();
        match state.expires {
            Some(expires) if now >= expires => Life::Cold,
            Some(expires) => Life::Expires(expires - now, Stability::Fixed(expires)),
            None if state.loaded || (state.loading && lists_loading) => {
                Life::Expires(state.keep.unwrap_or(Duration::from_secs(300)), Stability::FromNow)
            }
            None => Life::Cold,
        }
    }
}
