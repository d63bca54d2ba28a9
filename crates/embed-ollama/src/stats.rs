//! What a client has done so far.

use std::sync::atomic::{AtomicU64, Ordering};

use embed_remote::RemoteStats;

macro_rules! counters {
    (
        remote { $($(#[$remote_doc:meta])* $remote:ident,)* }
        ollama { $($(#[$doc:meta])* $name:ident,)* }
    ) => {
        /// What a client has done since it connected. Counts of calls that were dropped are in it.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct OllamaStats {
            $($(#[$remote_doc])* pub $remote: u64,)*
            $($(#[$doc])* pub $name: u64,)*
        }

        /// What only this client counts.
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: AtomicU64,)*
        }

        impl Counters {
            pub(crate) fn read(&self, remote: RemoteStats) -> OllamaStats {
                OllamaStats {
                    $($remote: remote.$remote,)*
                    $($name: self.$name.load(Ordering::Relaxed),)*
                }
            }
        }
    };
}

counters! {
    remote {
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
        /// Tries again because a runner crashed.
        retries_crash,
        /// Tries again because a server was busy or asked for patience.
        retries_busy,
        /// Tries again because rows of an answer weren't vectors.
        retries_rows,
        /// Tries again for other reasons.
        retries_other,
        /// Requests that were cut in two because one of their texts may be at fault.
        bisections,
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
    ollama {
        /// Requests sent to load the model.
        loads,
        /// Requests whose answer was waited for longer than the request timeout, because a load may be going on.
        long_waits,
        /// Servers of a version newer than all known ones.
        unknown_versions,
    }
}
