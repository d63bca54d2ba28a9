//! The health of a service, as it reports it.

use crate::Error;

/// Whether a service can answer now.
#[derive(Debug, Clone)]
pub struct Health {
    status: HealthStatus,
    reason: Option<Error>,
}

/// The states of a service, from best to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum HealthStatus {
    /// It answers.
    Ready,
    /// It answers, but something is wrong: a worker is being replaced, or one of several servers is down.
    Degraded,
    /// It doesn't answer.
    Unavailable,
}

impl Health {
    /// The service answers.
    #[must_use]
    pub fn ready() -> Self {
        Self { status: HealthStatus::Ready, reason: None }
    }

    /// The service answers, but something is wrong.
    #[must_use]
    pub fn degraded(reason: Error) -> Self {
        Self { status: HealthStatus::Degraded, reason: Some(reason) }
    }

    /// The service doesn't answer.
    #[must_use]
    pub fn unavailable(reason: Error) -> Self {
        Self { status: HealthStatus::Unavailable, reason: Some(reason) }
    }

    /// The state.
    #[must_use]
    pub fn status(&self) -> HealthStatus {
        self.status
    }

    /// Why the state isn't [`HealthStatus::Ready`].
    #[must_use]
    pub fn reason(&self) -> Option<&Error> {
        self.reason.as_ref()
    }

    /// Whether a request would be answered.
    #[must_use]
    pub fn is_available(&self) -> bool {
        self.status != HealthStatus::Unavailable
    }
}

impl HealthStatus {
    /// The state in lower case, for labels and JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Degraded => "degraded",
            Self::Unavailable => "unavailable",
        }
    }
}
