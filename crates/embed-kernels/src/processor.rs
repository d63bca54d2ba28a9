//! The available vector instructions.

use std::fmt;

/// The vector instructions of this processor: detected once and passed to every kernel.
#[derive(Clone, Copy)]
pub struct Processor(pub(crate) pulp::Arch);

impl Processor {
    /// Detects what the processor can do.
    #[must_use]
    pub fn detect() -> Self {
        Self(pulp::Arch::new())
    }
}

impl Default for Processor {
    fn default() -> Self {
        Self::detect()
    }
}

impl fmt::Debug for Processor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Processor").field(&self.0).finish()
    }
}
