//! What a client has done so far, whatever the protocol.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What a client has done since it connected. Counts of calls that were dropped are in it.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct RemoteStats {
            $($(#[$doc])* pub $name: u64,)*
        }

        /// The counters behind [`RemoteStats`].
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[$doc])* pub $name: AtomicU64,)*
        }

        impl Counters {
            /// What they say now.
            #[must_use]
            pub fn read(&self) -> RemoteStats {
                RemoteStats { $($name: self.$name.load(Ordering::Relaxed),)* }
            }
        }
    };
}

counters! {
    /// Calls of `embed`.
    calls,
    /// Texts of those calls.
    texts,
    /// Texts that another text of the same call was equal to, and that weren't sent.
    duplicates,
    /// Requests sent to embed texts.
    requests,
    /// Tries again because a server couldn't be reached or broke the connection off.
    retries_connection,
    /// Tries again because what computes the vectors crashed.
    retries_crash,
    /// Tries again because a server was busy or asked for patience.
    retries_busy,
    /// Tries again because rows of an answer weren't vectors.
    retries_rows,
    /// Tries again for other reasons.
    retries_other,
    /// Requests that were cut in two because one of their texts may be at fault.
    bisections,
    /// Requests that were cut in two because they were too large as a whole.
    splits,
    /// Texts that failed alone.
    failed_texts,
    /// Rows that weren't vectors of the model.
    bad_rows,
    /// Different texts of one answer that got the very same vector, which is a smell.
    shared_vectors,
    /// Servers that were asked who they are, at the start and after reconnecting.
    identity_checks,
    /// Servers that were refused for their vectors.
    refused_servers,
    /// Servers that became a new variant.
    new_variants,
    /// Times that a server was taken out because of failures.
    ejections,
    /// Times that a server came back.
    returns,
}

/// Adds to a counter.
pub fn add(counter: &AtomicU64, count: usize) {
    counter.fetch_add(count as u64, Ordering::Relaxed);
}
