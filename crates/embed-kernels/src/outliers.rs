//! Channels of the feed-forward part that 8 bits can't hold.

use pulp::Simd;

use crate::lanes::{LANES, UnfitLength, exactly};
use crate::{math, reduce};

/// The [`LANES`] channels of the feed-forward part that are computed in single precision, in addition to its 8-bit
/// products.
#[derive(Debug, Clone)]
pub struct Outliers {
    /// The weights of all inputs for each channel.
    into: Vec<f32>,
    bias: [f32; LANES],
    /// The weights of all outputs for each channel.
    out: Vec<f32>,
}

/// Rows that are computed at a time. The weights are larger than a core's first-level cache, and are read once for all of
/// these rows.
const ROWS: usize = 4;

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
            into: exactly("weights of outlier channels", into, into.len())?,
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
    pub(crate) fn add<S: Simd>(&self, simd: S, states: &mut [f32]) {
        let rows = ROWS * self.width();
        let whole = states.len() / rows * rows;
        let (blocks, rest) = states.split_at_mut(whole);
        // Loops and not closures, which would have no vector instructions where they aren't inlined.
        for states in blocks.chunks_exact_mut(rows) {
            self.add_to::<S, ROWS>(simd, states);
        }
        for state in rest.chunks_exact_mut(self.width()) {
            self.add_to::<S, 1>(simd, state);
        }
    }

    /// Each row is summed in the same order, however many there are and however wide vectors are.
    #[inline(always)]
    fn add_to<S: Simd, const N: usize>(&self, simd: S, states: &mut [f32]) {
        let width = self.width();
        let mut middle = [[0.0; LANES]; N];
        {
            let state: [&[S::f32s]; N] = std::array::from_fn(
                #[inline(always)]
                |row| S::as_simd_f32s(&states[row * width..][..width]).0,
            );
            let vectors = LANES / S::F32_LANES;
            for (channel, weights) in self.into.chunks_exact(width).enumerate() {
                let mut dots = [[simd.splat_f32s(0.0); LANES]; N];
                for (block, weights) in S::as_simd_f32s(weights).0.chunks_exact(vectors).enumerate() {
                    for place in 0..vectors {
                        for (dots, state) in dots.iter_mut().zip(&state) {
                            let value = state[block * vectors + place];
                            dots[place] = simd.mul_add_f32s(value, weights[place], dots[place]);
                        }
                    }
                }
                for (middle, dots) in middle.iter_mut().zip(dots) {
                    let mut parts = [0.0; LANES];
                    S::as_mut_simd_f32s(&mut parts).0.copy_from_slice(&dots[..vectors]);
                    middle[channel] = reduce::tree(parts, reduce::add) + self.bias[channel];
                }
            }
        }
        for value in middle.as_flattened_mut() {
            *value = math::gelu(*value);
        }
        let states = S::as_mut_simd_f32s(states).0;
        let vectors = states.len() / N;
        let weights: [&[S::f32s]; LANES] = std::array::from_fn(
            #[inline(always)]
            |channel| &S::as_simd_f32s(&self.out[channel * width..][..width]).0[..vectors],
        );
        for place in 0..vectors {
            let mut sums: [S::f32s; N] = std::array::from_fn(
                #[inline(always)]
                |row| states[row * vectors + place],
            );
            for (channel, weights) in weights.iter().enumerate() {
                for (sum, middle) in sums.iter_mut().zip(&middle) {
                    *sum = simd.mul_add_f32s(simd.splat_f32s(middle[channel]), weights[place], *sum);
                }
            }
            for (row, sum) in sums.into_iter().enumerate() {
                states[row * vectors + place] = sum;
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[cfg(test)]
mod tests {
    use super::*;
    use crate::widths;

    /// Five rows, of which one is left over.
    fn sums<S: Simd>(simd: S) -> Vec<f32> {
        const HIDDEN: usize = 6 * LANES;
        let weights = widths::noise(LANES * HIDDEN);
        let mut rows = widths::noise(5 * HIDDEN);
        let outliers = Outliers::new(&weights, &[0.1; LANES], &weights).unwrap();
        outliers.add(simd, &mut rows);
        rows
    }

    #[test]
    fn vectors_of_any_width_give_the_same() {
        widths::assert_same(sums, sums, sums, sums);
    }
}
