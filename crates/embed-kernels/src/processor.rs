//! The available vector instructions.

use std::fmt;

use embed_gemm::Gemm;

/// The vector instructions of this processor: detected once and passed to every kernel.
#[derive(Clone, Copy)]
pub struct Processor {
    pub(crate) arch: pulp::Arch,
    pub(crate) gemm: Gemm,
}

impl Processor {
    /// Detects what the processor can do.
    #[must_use]
    pub fn detect() -> Self {
        Self { arch: pulp::Arch::new(), gemm: Gemm::detect() }
    }
}

impl Default for Processor {
    fn default() -> Self {
        Self::detect()
    }
}

impl fmt::Debug for Processor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Processor").field(&self.arch).field(&self.gemm).finish()
    }
}
