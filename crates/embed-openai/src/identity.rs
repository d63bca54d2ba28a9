//! Who a server is: proven by the vectors of a fixed set of texts.

use embed_remote::{Drift, drift};
use serde::{Deserialize, Serialize};

/// Who the servers were when they were asked: keep it (it is serialisable) and hand it to
/// [`OpenAiConfig::expected`](crate::OpenAiConfig::expected) to be sure that a later run gives the same vectors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    model: String,
    /// How often its vectors have moved and were taken as a new variant.
    generation: u32,
    probes: Vec<Vec<f32>>,
}

impl Identity {
    pub(crate) fn new(model: &str, probes: Vec<Vec<f32>>) -> Self {
        Self { model: model.to_owned(), generation: 0, probes }
    }

    /// The model's name, as the server answers it.
    #[must_use]
    pub fn model(&self) -> &str {
        &self.model
    }

    /// Numbers in a vector of the server.
    #[must_use]
    pub fn dimension(&self) -> usize {
        self.probes.first().map_or(0, Vec::len)
    }

    pub(crate) fn generation(&self) -> u32 {
        self.generation
    }

    pub(crate) fn drift_to(&self, other: &Self, tolerance: f32) -> Drift {
        drift(&self.probes, &other.probes, tolerance)
    }

    /// The next generation after another identity.
    pub(crate) fn after(mut self, other: &Self) -> Self {
        self.generation = other.generation + 1;
        self
    }
}
