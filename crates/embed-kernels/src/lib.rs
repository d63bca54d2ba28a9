#![doc = include_str!("../README.md")]

mod attention;
mod gelu;
mod lanes;
mod math;
mod mean;
mod norm;
mod output;
mod product;
mod quantise;
mod reduce;
mod unpack;
#[cfg(target_arch = "x86_64")]
#[cfg(test)]
mod widths;

use std::fmt;

pub use attention::{Attention, HeadScratch};
pub use gelu::gelu;
pub use lanes::{LANES, UnfitLength};
pub use mean::mean;
pub use norm::{AddNorm, Apart, NormOutput};
pub use output::RowsOutput;
pub use product::{IntegerProduct, Linear, Product, SingleProduct};
pub use quantise::QuantisedRows;
pub use unpack::{PACKED_BLOCK_BYTES, PACKED_BLOCK_VALUES, unpack};

/// The vector instructions of the processor that the program runs on: found once, handed to every kernel.
#[derive(Clone, Copy)]
pub struct Processor(pulp::Arch);

impl Processor {
    /// Looks what the processor can do.
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
