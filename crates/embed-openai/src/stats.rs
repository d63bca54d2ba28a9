//! What a client has done so far.

use std::sync::atomic::{AtomicU64, Ordering};

use embed_remote::RemoteStats;

/// What a client has done since it connected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpenAiStats {
    /// What every client of a remote server counts.
    pub remote: RemoteStats,
    /// Tokens, as the servers count them.
    pub tokens: u64,
    /// Requests that waited before they were sent, so that they weren't refused.
    pub paced: u64,
    /// Requests that a server refused because it is asked too often; they were sent again.
    pub throttled: u64,
    /// Servers that are asked for numbers because they refused base64.
    pub without_base64: u64,
}

/// What only this client counts.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) tokens: AtomicU64,
    pub(crate) paced: AtomicU64,
    pub(crate) throttled: AtomicU64,
    pub(crate) without_base64: AtomicU64,
}

impl Counters {
    pub(crate) fn read(&self, remote: RemoteStats) -> OpenAiStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        OpenAiStats {
            remote,
            tokens: read(&self.tokens),
            paced: read(&self.paced),
            throttled: read(&self.throttled),
            without_base64: read(&self.without_base64),
        }
    }
}
