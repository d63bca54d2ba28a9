//! How a model is written.

use super::smooth::Smoothing;

/// The kind of arithmetic in the linear parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// 8-bit weights, and activations that are quantised row by row as they come.
    Int8,
    /// Single precision throughout.
    F32,
    /// Single precision, but for the products that lose least in 8 bits: the second one of the feed-forward
    /// part in the first two thirds of the layers, where a smoothing table names its outlier channels.
    Mixed,
    /// Single precision in standard operators alone, for a compiler that takes the products in bfloat16: the
    /// OpenVINO execution provider.
    Bf16,
}

impl Precision {
    /// The name in the metadata of the model.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Int8 => "int8",
            Self::F32 => "f32",
            Self::Mixed => "mixed",
            Self::Bf16 => "bf16",
        }
    }
}

/// How to write a model.
#[derive(Debug, Clone, Copy)]
pub struct GraphOptions<'a> {
    /// The arithmetic.
    pub precision: Precision,
    /// What keeps 8-bit products accurate; without effect in single precision.
    pub smoothing: Option<&'a Smoothing>,
    /// The profile that the model is of, for its metadata.
    pub profile: &'a str,
    /// Where the weights come from, for its metadata.
    pub source: &'a str,
}
