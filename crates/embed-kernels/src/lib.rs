#![doc = include_str!("../README.md")]

mod attention;
mod gelu;
mod lanes;
mod layer;
mod math;
mod mean;
mod norm;
mod output;
mod processor;
mod product;
mod quantise;
mod reduce;
mod unpack;
mod weights;
#[cfg(target_arch = "x86_64")]
#[cfg(test)]
mod widths;

pub use attention::{Attention, HeadScratch};
pub use gelu::gelu;
pub use lanes::{LANES, UnfitLength};
pub use layer::{Executor, Layer, LayerParts, LayerWeights, Serial};
pub use mean::mean;
pub use norm::{AddNorm, NormOutput, Outliers};
pub use output::RowsOutput;
pub use processor::Processor;
pub use product::{IntegerProduct, Linear, Product, SingleProduct};
pub use quantise::QuantisedRows;
pub use unpack::{PACKED_BLOCK_BYTES, PACKED_BLOCK_VALUES, unpack};
pub use weights::{Weights, pack_integer, pack_single};
