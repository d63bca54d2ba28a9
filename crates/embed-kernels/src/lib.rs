#![doc = include_str!("../README.md")]

mod attention;
mod integer_attention;
mod lanes;
mod layer;
mod linear;
mod math;
mod mean;
mod norm;
mod outliers;
mod processor;
mod reduce;
mod rows;
mod steps;
mod unpack;
mod weights;
#[cfg(target_arch = "x86_64")]
#[cfg(test)]
mod widths;

pub use lanes::{LANES, UnfitLength};
pub use layer::{Executor, Layer, LayerParts, LayerWeights, Serial};
pub use linear::Linear;
pub use mean::mean;
pub use norm::AddNorm;
pub use outliers::Outliers;
pub use processor::{Instructions, Processor, Unavailable, UnknownInstructions};
pub use unpack::{PACKED_BLOCK_BYTES, PACKED_BLOCK_VALUES, packed_bytes, unpack};
pub use weights::{Kind, Weights, Words, pack_integer, pack_single, pack_words};
