//! Replaces rollouts if the feature `rollout` is off: types without values.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use embed_core::{EmbedRequest, EmbedResponse, Embedder, Result};
use serde::Serialize;

/// Settings that can't be constructed.
#[derive(Debug, Clone)]
pub struct RolloutConfig {
    pub(crate) from: Arc<str>,
    pub(crate) to: Arc<str>,
    pub(crate) cross_space: bool,
    never: Infallible,
}

/// A rollout that can't be constructed.
#[derive(Debug)]
pub struct Rollout {
    pub(crate) current: CallMeter,
    never: Infallible,
}

/// A status that can't be constructed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum RolloutStatus {}

#[derive(Debug)]
pub(crate) enum CallMeter {}

#[derive(Debug)]
pub(crate) enum Shadow {}

#[derive(Debug, Default)]
pub(crate) struct ShadowStatus;

#[expect(dead_code, reason = "no rollout reads them")]
pub(crate) struct JudgedCall {
    pub(crate) time: Duration,
    pub(crate) failed: bool,
}

impl Rollout {
    pub(crate) fn new(config: RolloutConfig) -> Result<Self> {
        match config.never {}
    }

    pub(crate) fn config(&self) -> &RolloutConfig {
        match self.never {}
    }

    pub(crate) fn includes(&self, _partition: &str) -> bool {
        match self.never {}
    }

    pub(crate) fn serves(&self) -> bool {
        match self.never {}
    }

    pub(crate) fn judge(&self, call: JudgedCall) {
        self.current.add(call);
    }

    pub(crate) fn status(&self, _shadow: ShadowStatus) -> RolloutStatus {
        match self.never {}
    }
}

impl CallMeter {
    pub(crate) fn add(&self, _call: JudgedCall) {
        match *self {}
    }
}

impl Shadow {
    pub(crate) fn new(rollout: Arc<Rollout>, _candidate: Arc<dyn Embedder>) -> Self {
        match rollout.never {}
    }

    pub(crate) fn offer(&self, _request: &EmbedRequest, _response: &EmbedResponse) {
        match *self {}
    }

    pub(crate) fn status(&self) -> ShadowStatus {
        match *self {}
    }
}
