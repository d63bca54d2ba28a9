//! The settings of a router.

use embed_core::BreakerConfig;

use crate::guard::default_breaker;
use crate::rollout::RolloutConfig;
use crate::{PinBook, Policy};

/// How a router decides, and what it does when a route fails.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RouterConfig {
    /// Which kind of text goes to which route.
    pub policy: Policy,
    /// Whether a text may leave its space when every route of it fails. Off by default: a vector of another space
    /// finds nothing among those that are stored. Only texts that the policy or a rollout sent go, and only to a
    /// model that reads them; the row names the space that it got.
    pub allow_cross_space: bool,
    /// When a route counts as down, for routes that set nothing of their own: after five failures in a row, and then it
    /// is tried after pauses of one to five seconds.
    pub breaker: BreakerConfig,
    /// Partitions that stay on one route.
    pub pins: PinBook,
    /// A candidate that some partitions are moved to.
    pub rollout: Option<RolloutConfig>,
}

impl Default for RouterConfig {
    fn default() -> Self {
        Self {
            policy: Policy::default(),
            allow_cross_space: false,
            breaker: default_breaker(),
            pins: PinBook::default(),
            rollout: None,
        }
    }
}

impl RouterConfig {
    /// Sets which kind of text goes to which route.
    #[must_use]
    pub fn with_policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Sets whether texts may leave their space when it fails.
    #[must_use]
    pub fn with_cross_space(mut self, allowed: bool) -> Self {
        self.allow_cross_space = allowed;
        self
    }

    /// Sets when a route counts as down.
    #[must_use]
    pub fn with_breaker(mut self, breaker: BreakerConfig) -> Self {
        self.breaker = breaker;
        self
    }

    /// Sets the partitions that stay on one route. The book is shared: later pins count.
    #[must_use]
    pub fn with_pins(mut self, pins: PinBook) -> Self {
        self.pins = pins;
        self
    }

    /// Moves some partitions to a candidate.
    #[must_use]
    pub fn with_rollout(mut self, rollout: RolloutConfig) -> Self {
        self.rollout = Some(rollout);
        self
    }
}
