//! Channels of the feed-forward part that 8 bits can't hold.

use embed_gemm::{Gemm, Rows, Strips};

use crate::lanes::{LANES, UnfitLength, exactly};
use crate::math;

/// The [`LANES`] channels of the feed-forward part that are computed in single precision, in addition to its 8-bit
/// products.
#[derive(Debug, Clone)]
pub struct Outliers {
    /// The weights of all channels for each input.
    into: Vec<f32>,
    bias: [f32; LANES],
    /// The weights of all outputs for each channel.
    out: Vec<f32>,
}

/// Scratch memory, which is reused between blocks of rows.
#[derive(Debug, Default)]
pub(crate) struct OutlierScratch {
    /// The channels of each row.
    middle: Vec<f32>,
    /// What is added to each row.
    sums: Vec<f32>,
}

impl Outliers {
    /// The weights `[LANES, inputs]`, the bias, and the weights `[LANES, outputs]`.
    ///
    /// # Errors
    ///
    /// If one is of another size.
    pub fn new(into: &[f32], bias: &[f32], out: &[f32]) -> Result<Self, UnfitLength> {
        let wrong = UnfitLength { what: "the bias of outlier channels", length: bias.len() };
        if !into.len().is_multiple_of(LANES * LANES) {
            return Err(UnfitLength { what: "weights of outlier channels", length: into.len() });
        }
        Ok(Self {
            into: pack(&exactly("weights of outlier channels", into, into.len())?),
            bias: bias.try_into().map_err(|_| wrong)?,
            out: exactly("weights of outlier channels", out, into.len())?,
        })
    }

    /// Inputs, and outputs.
    pub(crate) fn width(&self) -> usize {
        self.into.len() / LANES
    }

    /// Adds the results of these channels to the rows that they are computed from.
    #[inline(always)]
    pub(crate) fn add(&self, gemm: Gemm, states: &mut [f32], scratch: &mut OutlierScratch) {
        let width = self.width();
        let count = states.len() / width;
        let OutlierScratch { middle, sums } = scratch;
        middle.resize(count * LANES, 0.0);
        sums.resize(states.len(), 0.0);
        let rows = Rows { values: states, stride: width, count, depth: width };
        let into = Strips { values: &self.into, stride: LANES, distance: 0, count: 1 };
        gemm.single(rows, into, middle, LANES);
        for row in middle.chunks_exact_mut(LANES) {
            for (value, bias) in row.iter_mut().zip(&self.bias) {
                *value = math::gelu(*value + bias);
            }
        }
        let rows = Rows { values: middle, stride: LANES, count, depth: LANES };
        let out = Strips { values: &self.out, stride: width, distance: LANES, count: width / LANES };
        gemm.single(rows, out, sums, width);
        for (state, sum) in states.iter_mut().zip(sums) {
            *state += *sum;
        }
    }
}

/// The weights of all channels for an input, then for the next one, of weights `[LANES, inputs]`.
fn pack(into: &[f32]) -> Vec<f32> {
    let inputs = into.len() / LANES;
    (0..inputs).flat_map(|input| into[input..].iter().step_by(inputs).copied()).collect()
}
