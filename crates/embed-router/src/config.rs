//! The settings of a router.

use embed_core::BreakerConfig;

use crate::guard::default_breaker;
use crate::rollout::RolloutConfig;
use crate::{PinBook, Policy};

/// Settings of a router: how it chooses routes, and what it does when one fails.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RouterConfig {
    /// Which kind of text goes to which route.
    pub policy: Policy,
    /// Whether a text may leave its space when every route of the space fails. Off by default, because a vector of another
    /// space finds nothing among the stored ones. It applies only to texts sent by the policy or a rollout, and only to
    /// models that support them; the row names its space.
    pub allow_cross_space: bool,
    /// The breaker of routes that don't set one. By default it opens after five consecutive failures, with pauses of one
    /// to five seconds between trials.
    pub breaker: BreakerConfig,
    /// Partitions that stay on one route.
    pub pins: PinBook,
    /// A rollout that moves some partitions to a candidate.
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

    /// Sets whether texts may leave their space when all its routes fail.
    #[must_use]
    pub fn with_cross_space(mut self, allowed: bool) -> Self {
        self.allow_cross_space = allowed;
        self
    }

    /// Sets the breaker of routes that don't set one.
    #[must_use]
    pub fn with_breaker(mut self, breaker: BreakerConfig) -> Self {
        self.breaker = breaker;
        self
    }

    /// Sets the pins. They are shared, so pins can still be added later.
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
