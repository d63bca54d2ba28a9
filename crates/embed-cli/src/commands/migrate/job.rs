//! What a migration is, so that only the same one goes on with the rows of an earlier run.

use embed_core::{Role, Truncation};
use serde::{Deserialize, Serialize};

use super::source::Fingerprint;

/// Identifies a migration: one output has the rows of one job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct MigrationJob {
    pub(super) input: Fingerprint,
    pub(super) from: String,
    /// The variant of the new vectors.
    pub(super) variant: String,
    /// The role of texts whose row has none.
    pub(super) role: Role,
    pub(super) truncation: Truncation,
}

impl MigrationJob {
    /// The first difference from another job.
    pub(super) fn difference(&self, other: &Self) -> Option<&'static str> {
        let differs = [
            (self.input != other.input, "the input"),
            (self.from != other.from, "--from-space"),
            (self.variant != other.variant, "the model"),
            (self.role != other.role, "--role"),
            (self.truncation != other.truncation, "--truncate"),
        ];
        differs.into_iter().find_map(|(differs, what)| differs.then_some(what))
    }
}
