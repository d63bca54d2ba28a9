//! How a model is written.

use embed_core::Pooling;

use super::smooth::Smoothing;

/// The arithmetic of the linear parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// 8-bit weights, and activations that are quantised row by row at run time.
    Int8,
    /// Single precision throughout.
    F32,
    /// Products in 16 bits with exact sums, and single precision between them.
    Mixed,
    /// Single precision with standard operators only, for the OpenVINO execution provider, which computes the products in
    /// bfloat16.
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
    /// How the states of the tokens become the vector of a text: [`Pooling::Cls`], else the mean.
    pub pooling: Pooling,
    /// Keeps 8-bit products accurate; has no effect on others.
    pub smoothing: Option<&'a Smoothing>,
    /// The name of the model's profile, for its metadata.
    pub profile: &'a str,
    /// Where the weights come from, for its metadata.
    pub source: &'a str,
}
