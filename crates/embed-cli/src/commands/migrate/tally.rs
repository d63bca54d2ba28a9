//! Counts of rows by what became of them.

use super::row::Fate;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) embedded: u64,
    pub(super) carried: u64,
    pub(super) failed: u64,
}

impl Tally {
    pub(super) fn add(&mut self, fate: Fate) {
        match fate {
            Fate::Embedded => self.embedded += 1,
            Fate::Carried => self.carried += 1,
            Fate::Failed => self.failed += 1,
        }
    }

    /// Rows that the back end has answered, with a vector or an error.
    pub(super) fn answered(&self) -> u64 {
        self.embedded + self.failed
    }

    pub(super) fn rows(&self) -> u64 {
        self.embedded + self.carried + self.failed
    }
}
