//! Follows the state file of a rollout, which other processes write.

use std::sync::Arc;
use std::time::Duration;

use embed_core::Error;
use embed_router::Router;
use tokio::task::JoinHandle;

/// How often the file is read.
const EVERY: Duration = Duration::from_secs(2);

/// Reads the file of a router's rollout again and again, until it is dropped.
#[derive(Debug)]
pub struct Follower(JoinHandle<()>);

impl Follower {
    /// Follows the rollout of a router, if it has one. It must be called in a tokio runtime.
    pub fn of(router: &Router) -> Option<Self> {
        let trouble =
            |error: &Error| tracing::warn!(%error, "the state of the rollout can't be read or written");
        router.rollout().map(|rollout| Self(tokio::spawn(Arc::clone(rollout).follow(EVERY, trouble))))
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.0.abort();
    }
}
