//! The end of a layer's half: output plus input, normalised.

use pulp::{Simd, WithSimd};

use crate::lanes::{UnfitLength, exactly};
use crate::processor::Processor;
use crate::reduce;

/// Layer normalisation of a sum.
#[derive(Debug, Clone)]
pub struct AddNorm {
    scale: Vec<f32>,
    bias: Vec<f32>,
    epsilon: f32,
}

impl AddNorm {
    /// A normalisation with scale, bias and epsilon.
    ///
    /// # Errors
    ///
    /// If the widths differ or are no multiple of [`LANES`](crate::LANES).
    pub fn new(scale: &[f32], bias: &[f32], epsilon: f32) -> Result<Self, UnfitLength> {
        Ok(Self {
            scale: exactly("the scale of a normalisation", scale, scale.len())?,
            bias: exactly("the bias of a normalisation", bias, scale.len())?,
            epsilon,
        })
    }

    /// Values of a row.
    #[must_use]
    pub fn width(&self) -> usize {
        self.scale.len()
    }

    /// Normalises the sums of the rows of `state` and `residual`, in place. Every row depends only on its own, to the bit.
    ///
    /// # Errors
    ///
    /// If they aren't as many whole rows.
    pub fn run(&self, processor: Processor, residual: &[f32], state: &mut [f32]) -> Result<(), UnfitLength> {
        if !state.len().is_multiple_of(self.width()) || residual.len() != state.len() {
            return Err(UnfitLength { what: "rows to normalise", length: residual.len() });
        }
        processor.arch.dispatch(NormRows { norm: self, residual, state });
        Ok(())
    }

    /// Normalises the sum of a row and its residual, in place.
    #[inline(always)]
    pub(crate) fn row<S: Simd>(&self, simd: S, residual: &[f32], state: &mut [f32]) {
        for (state, residual) in state.iter_mut().zip(residual) {
            *state += residual;
        }
        let width = state.len() as f32;
        let mean = reduce::sum(simd, state) / width;
        let variance = reduce::squares(simd, state, mean) / width;
        let inverse = 1.0 / (variance + self.epsilon).sqrt();
        for ((state, scale), bias) in state.iter_mut().zip(&self.scale).zip(&self.bias) {
            *state = ((*state - mean) * inverse).mul_add(*scale, *bias);
        }
    }
}

/// The work on all rows.
struct NormRows<'a> {
    norm: &'a AddNorm,
    residual: &'a [f32],
    state: &'a mut [f32],
}

impl WithSimd for NormRows<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { norm, residual, state } = self;
        let width = norm.width();
        for (state, residual) in state.chunks_exact_mut(width).zip(residual.chunks_exact(width)) {
            norm.row(simd, residual, state);
        }
    }
}
