//! The phase of a connection, and callbacks for when an answer has been sent.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::limits::Limits;

/// How long a connection may be without the head of a request before another one may take its slot. A request that has
/// been sent arrives sooner; half-open sockets never send one.
pub(crate) const GRACE: Duration = Duration::from_millis(20);

/// Called when an answer has been sent; dropped without a call if it never is.
pub(crate) type AtEnd = Box<dyn FnOnce() + Send>;

/// The state of a connection.
pub(crate) struct Connection {
    phase: Mutex<Phase>,
    closing: Notify,
    /// The callbacks of answers that haven't been sent yet.
    ending: Mutex<Vec<AtEnd>>,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    /// The head of a request is awaited or incomplete; `starved` if all received bytes were read.
    Head { since: Instant, starved: bool },
    /// Between two requests.
    Idle { since: Instant },
    /// A request is being answered.
    Busy,
}

impl Connection {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            phase: Mutex::new(Phase::Head { since: now, starved: false }),
            closing: Notify::new(),
            ending: Mutex::default(),
        }
    }

    /// Whether it has been open for the grace period without a request.
    pub(crate) fn is_half_open(&self, now: Instant) -> bool {
        match *lock(&self.phase) {
            Phase::Head { since, starved } => starved && now.duration_since(since) >= GRACE,
            _ => false,
        }
    }

    /// Bytes of a request were received.
    pub(crate) fn received(&self) {
        let mut phase = lock(&self.phase);
        match &mut *phase {
            Phase::Idle { .. } => *phase = Phase::Head { since: Instant::now(), starved: false },
            Phase::Head { starved, .. } => *starved = false,
            Phase::Busy => {}
        }
    }

    /// All received bytes were read, and more are needed.
    pub(crate) fn starved(&self) {
        if let Phase::Head { starved, .. } = &mut *lock(&self.phase) {
            *starved = true;
        }
    }

    /// The head of a request is complete.
    pub(crate) fn busy(self: &Arc<Self>) -> Busy {
        *lock(&self.phase) = Phase::Busy;
        Busy(Arc::clone(self))
    }

    /// Calls this once the answer has been sent.
    pub(crate) fn at_end(&self, end: AtEnd) {
        lock(&self.ending).push(end);
    }

    /// Everything has been sent.
    pub(crate) fn flushed(&self) {
        let ended = std::mem::take(&mut *lock(&self.ending));
        ended.into_iter().for_each(|end| end());
    }

    /// Closes the connection to free its slot.
    pub(crate) fn close(&self) {
        self.closing.notify_one();
    }

    /// Waits until the connection must be closed: its head or its next request takes too long, or another connection
    /// needs the slot.
    pub(crate) async fn expired(&self, limits: &Limits) {
        let look = limits.header_timeout.min(limits.idle_timeout);
        loop {
            let due = match *lock(&self.phase) {
                Phase::Head { since, .. } => Some(since + limits.header_timeout),
                Phase::Idle { since } => Some(since + limits.idle_timeout),
                Phase::Busy => None,
            };
            let now = Instant::now();
            if due.is_some_and(|due| due <= now) {
                return;
            }
            let wake = due.unwrap_or(now + look).min(now + look);
            tokio::select! {
                () = tokio::time::sleep_until(wake) => {}
                () = self.closing.notified() => return,
            }
        }
    }
}

/// A request is in flight until this is dropped.
#[derive(Debug)]
pub(crate) struct Busy(Arc<Connection>);

impl Drop for Busy {
    fn drop(&mut self) {
        *lock(&self.0.phase) = Phase::Idle { since: Instant::now() };
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("phase", &self.phase).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while the lock is held.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use embed_testkit::VirtualTime;
    use futures::FutureExt;

    use super::*;

    /// Each timeout applies to its own phase, whatever the other one is.
    #[tokio::test(start_paused = true)]
    async fn a_head_and_an_idle_connection_have_times_of_their_own() {
        for (header, idle) in [(30, 75), (75, 30)] {
            let (header, idle) = (Duration::from_secs(header), Duration::from_secs(idle));
            let limits = Limits { header_timeout: header, idle_timeout: idle, ..Limits::default() };
            let time = VirtualTime::start().await;
            let fresh = Connection::new(time.started());
            fresh.expired(&limits).await;
            assert_eq!(time.passed(), header);

            let used = Arc::new(Connection::new(Instant::now()));
            let busy = used.busy();
            tokio::time::advance(header + idle).await;
            assert!(used.expired(&limits).now_or_never().is_none(), "a request may take its time");
            drop(busy);
            let time = VirtualTime::start().await;
            used.expired(&limits).await;
            assert_eq!(time.passed(), idle);

            drop(used.busy());
            let almost = idle.checked_sub(Duration::from_secs(1)).unwrap();
            tokio::time::advance(almost).await;
            used.received();
            let time = VirtualTime::start().await;
            used.expired(&limits).await;
            assert_eq!(time.passed(), header);
        }
    }
}
