//! Counts of rows by result.

use serde::{Deserialize, Serialize};

use super::row::RowResult;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RowCounts {
    pub(super) embedded: u64,
    pub(super) carried: u64,
    pub(super) failed: u64,
}

impl RowCounts {
    pub(super) fn add(&mut self, fate: RowResult) {
        match fate {
            RowResult::Embedded => self.embedded += 1,
            RowResult::Carried => self.carried += 1,
            RowResult::Failed => self.failed += 1,
        }
    }

    /// Rows with an answer of the back end, a vector or an error.
    pub(super) fn answered(&self) -> u64 {
        self.embedded + self.failed
    }

    pub(super) fn rows(&self) -> u64 {
        self.embedded + self.carried + self.failed
    }
}
