//! Numbers as whole multiples of a step, in 16 bits.

use embed_gemm::Pair;

use crate::math::ROUND;

/// The size of a step, and its inverse.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    pub(crate) size: f32,
    inverse: f32,
}

impl Step {
    /// The step of which so many are this number, which isn't negative.
    #[inline(always)]
    pub(crate) fn of(number: f32, steps: f32) -> Self {
        let size = number / steps;
        // If all numbers are 0, there are no steps.
        Self { size, inverse: if size.is_normal() { 1.0 / size } else { 0.0 } }
    }

    /// The step of which so many are 1.
    #[inline(always)]
    pub(crate) fn part(steps: f32) -> Self {
        Self { size: 1.0 / steps, inverse: steps }
    }

    /// The nearest number of steps, which must fit.
    #[inline(always)]
    pub(crate) fn nearest(self, value: f32) -> i16 {
        value.mul_add(self.inverse, ROUND).to_bits() as i16
    }

    /// The nearest numbers of steps.
    #[inline(always)]
    pub(crate) fn count(self, values: &[f32], steps: &mut [Pair]) {
        for (step, value) in steps.as_flattened_mut().iter_mut().zip(values) {
            *step = self.nearest(*value);
        }
    }
}
