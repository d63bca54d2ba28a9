//! What a failure means, whatever the protocol: how often to try again, after which pause, and who is to blame.

use std::time::Duration;

use embed_core::{Error, Retry};

/// What is to be done about what was seen.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The error, whose retry status is temporary wherever a try again may help.
    pub error: Error,
    /// How long the server asked to be left alone.
    pub after: Option<Duration>,
    /// How often to try again.
    pub again: Again,
    /// How long to wait before.
    pub pause: Pause,
    /// Whose fault it may be.
    pub blame: Blame,
    /// As what a try again is counted.
    pub reason: Reason,
}

/// How often to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// Never.
    Never,
    /// So many times, if the settings allow as many.
    AtMost(u32),
    /// As often as the settings allow.
    AsSet,
    /// Until the deadline: the server throttles, and the back end itself waits before it asks again.
    Throttled,
}

/// How long to wait before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pause {
    /// The back-off of the settings.
    BackOff,
    /// Five times the back-off: memory must get free.
    Long,
    /// Half the back-off: a queue must get shorter.
    Short,
}

/// Whose fault it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The whole request, at any server.
    Request,
    /// The request's size: it is cut in two at once, as long as it has several texts.
    Size,
    /// One of the texts: after the tries the request is cut in two, until the text is alone.
    Text,
    /// The server: another one may do better, and the breaker counts it.
    Server,
}

/// As what a try again is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// No connection, or it broke off.
    Connection,
    /// No answer in time: the next one is waited for longer.
    Silence,
    /// What computes the vectors crashed.
    Crash,
    /// The server is busy, or throttles.
    Busy,
    /// Rows that aren't vectors.
    Rows,
    /// Anything else.
    Other,
}

/// Why a server isn't taken: a failure as its protocol words it, or a finding of the client.
#[derive(Debug, Clone)]
pub enum Refusal {
    /// A request failed.
    Failed(Failure),
    /// The server gives other vectors than it must, or can't be used at all.
    Unfit(Error),
}

impl Failure {
    /// Tries again that are allowed if the settings allow `tries` in all.
    #[must_use]
    pub fn retries(&self, tries: u32) -> u32 {
        match self.again {
            Again::Never | Again::Throttled => 0,
            Again::AtMost(most) => most.min(tries.saturating_sub(1)),
            Again::AsSet => tries.saturating_sub(1),
        }
    }

    /// The error for the caller, when no try is left: an outer retry must not multiply the tries.
    #[must_use]
    pub fn exhausted(self) -> Error {
        match self.error.retry() {
            Retry::Temporary { after: None } => self.error.with_retry(Retry::Exhausted),
            _ => self.error,
        }
    }
}

impl Refusal {
    /// The error for the caller.
    #[must_use]
    pub fn into_error(self) -> Error {
        match self {
            Self::Failed(failure) => failure.exhausted(),
            Self::Unfit(error) => error,
        }
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}
