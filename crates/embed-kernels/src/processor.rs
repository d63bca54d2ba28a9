//! The available instructions.

use std::fmt;

pub use embed_gemm::{Instructions, Unavailable, UnknownInstructions};

use embed_gemm::Gemm;
use pulp::Arch;

/// The instructions that kernels use: chosen once and passed to every one.
#[derive(Clone, Copy)]
pub struct Processor {
    pub(crate) arch: Arch,
    pub(crate) gemm: Gemm,
}

impl Processor {
    /// The fastest that this processor has.
    #[must_use]
    pub fn detect() -> Self {
        Self { arch: Arch::new(), gemm: Gemm::detect() }
    }

    /// Those that products are computed by, and no wider ones for everything else. The results are the same to the bit by all.
    ///
    /// # Errors
    ///
    /// If this processor doesn't have them.
    pub fn with(instructions: Instructions) -> Result<Self, Unavailable> {
        let gemm = Gemm::with(instructions)?;
        let arch = match instructions {
            Instructions::Portable => Arch::Scalar,
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2 | Instructions::AvxVnni => {
                pulp::x86::V3::try_new().map_or(Arch::Scalar, Arch::V3)
            }
            _ => Arch::new(),
        };
        Ok(Self { arch, gemm })
    }

    /// What 8-bit products are computed by.
    #[must_use]
    pub fn instructions(self) -> Instructions {
        self.gemm.instructions()
    }
}

impl Default for Processor {
    fn default() -> Self {
        Self::detect()
    }
}

impl fmt::Debug for Processor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Processor").field(&self.instructions()).finish()
    }
}
