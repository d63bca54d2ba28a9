//! The end of a layer's half: output plus input, normalised, and prepared for the next product.

use pulp::{Simd, WithSimd};

use crate::lanes::{LANES, UnfitLength, exactly};
use crate::processor::Processor;
use crate::product::{Product, ProductRows};
use crate::quantise::QuantisedRows;
use crate::{math, reduce};

/// Layer normalisation of a sum, and the input of the next product.
#[derive(Debug, Clone)]
pub struct AddNorm {
    scale: Vec<f32>,
    bias: Vec<f32>,
    epsilon: f32,
    /// The factor of each channel, applied before it is quantised.
    factors: Vec<f32>,
    outliers: Option<Outliers>,
}

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

/// Rows whose outlier channels are computed at a time. The weights are larger than a core's first-level cache, and are
/// read once for all of these rows.
const OUTLIER_ROWS: usize = 4;

/// Where [`AddNorm::run`] writes to.
#[derive(Debug)]
pub struct NormOutput<'a> {
    /// The normalised sum.
    pub state: &'a mut [f32],
    /// The state plus the result of the outlier channels: as large as the state, or empty.
    pub sum: &'a mut [f32],
    /// The state in 8 bits.
    pub quantised: Option<QuantisedRows<'a>>,
}

impl AddNorm {
    /// A normalisation with scale, bias and epsilon.
    ///
    /// # Errors
    ///
    /// If the widths differ or are no multiple of [`LANES`].
    pub fn new(scale: &[f32], bias: &[f32], epsilon: f32) -> Result<Self, UnfitLength> {
        Ok(Self {
            scale: exactly("the scale of a normalisation", scale, scale.len())?,
            bias: exactly("the bias of a normalisation", bias, scale.len())?,
            epsilon,
            factors: Vec::new(),
            outliers: None,
        })
    }

    /// Multiplies each channel by a factor before it is quantised; the state itself doesn't change.
    ///
    /// # Errors
    ///
    /// If there are more or fewer factors than channels.
    pub fn with_factors(mut self, factors: &[f32]) -> Result<Self, UnfitLength> {
        self.factors = exactly("the factors of channels", factors, self.width())?;
        Ok(self)
    }

    /// Adds outlier channels.
    ///
    /// # Errors
    ///
    /// If they are of another width.
    pub fn with_outliers(mut self, outliers: Outliers) -> Result<Self, UnfitLength> {
        if outliers.out.len() != LANES * self.width() {
            return Err(UnfitLength { what: "weights of outlier channels", length: outliers.out.len() });
        }
        self.outliers = Some(outliers);
        Ok(self)
    }

    /// Values of a row.
    #[must_use]
    pub fn width(&self) -> usize {
        self.scale.len()
    }

    /// Normalises the rows of `product` from `first` on plus those of `residual`, as many as there is room for. Every row
    /// depends only on its input row, to the bit.
    ///
    /// # Panics
    ///
    /// If one of them has fewer rows than `out`.
    pub fn run(
        &self,
        processor: Processor,
        (product, first): (Product<'_>, usize),
        residual: &[f32],
        out: NormOutput<'_>,
    ) {
        match product {
            Product::Single(product) => {
                processor.0.dispatch(NormRows { norm: self, product: (product, first), residual, out });
            }
            Product::Integer(product) => {
                processor.0.dispatch(NormRows { norm: self, product: (product, first), residual, out });
            }
        }
    }
}

/// The work on some rows.
struct NormRows<'a, R> {
    norm: &'a AddNorm,
    product: (R, usize),
    residual: &'a [f32],
    out: NormOutput<'a>,
}

impl<R: ProductRows> WithSimd for NormRows<'_, R> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { norm, product: (product, first), residual, out } = self;
        let NormOutput { state, sum, mut quantised } = out;
        let width = norm.width();
        let mut scaled = vec![0.0; width];
        for (row, state) in state.chunks_exact_mut(width).enumerate() {
            product.read(first + row, 0, state);
            norm.norm(simd, &residual[row * width..][..width], state);
            let Some(quantised) = &mut quantised else { continue };
            if norm.factors.is_empty() {
                quantised.put(simd, row, state);
                continue;
            }
            for ((scaled, state), factor) in scaled.iter_mut().zip(state.iter()).zip(&norm.factors) {
                *scaled = state * factor;
            }
            quantised.put(simd, row, &scaled);
        }
        if let Some(outliers) = &norm.outliers {
            let rows = OUTLIER_ROWS * width;
            let whole = sum.len() / rows * rows;
            for (state, sum) in state.chunks_exact(rows).zip(sum.chunks_exact_mut(rows)) {
                outliers.add::<S, OUTLIER_ROWS>(simd, state, sum);
            }
            for (state, sum) in state[whole..].chunks_exact(width).zip(sum[whole..].chunks_exact_mut(width)) {
                outliers.add::<S, 1>(simd, state, sum);
            }
        }
    }
}

impl AddNorm {
    #[inline(always)]
    fn norm<S: Simd>(&self, simd: S, residual: &[f32], state: &mut [f32]) {
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

    /// Adds the result of these channels to rows. Each row is summed in the same order, however many there are.
    #[inline(always)]
    fn add<S: Simd, const ROWS: usize>(&self, simd: S, states: &[f32], sums: &mut [f32]) {
        let width = states.len() / ROWS;
        let state: [&[S::f32s]; ROWS] = std::array::from_fn(
            #[inline(always)]
            |row| S::as_simd_f32s(&states[row * width..][..width]).0,
        );
        let vectors = state[0].len();
        let mut middle = [[0.0; LANES]; ROWS];
        for (pair, weights) in self.into.chunks_exact(2 * width).enumerate() {
            let (first, second) = S::as_simd_f32s(weights).0.split_at(vectors);
            let mut dots = [[simd.splat_f32s(0.0); 2]; ROWS];
            for (place, (first, second)) in first.iter().zip(second).enumerate() {
                for (dots, state) in dots.iter_mut().zip(&state) {
                    dots[0] = simd.mul_add_f32s(state[place], *first, dots[0]);
                    dots[1] = simd.mul_add_f32s(state[place], *second, dots[1]);
                }
            }
            for (middle, dots) in middle.iter_mut().zip(dots) {
                for (channel, dot) in (2 * pair..).zip(dots) {
                    middle[channel] = simd.reduce_sum_f32s(dot) + self.bias[channel];
                }
            }
        }
        for value in middle.as_flattened_mut() {
            *value = math::gelu(*value);
        }
        let weights: [&[S::f32s]; LANES] = std::array::from_fn(
            #[inline(always)]
            |channel| &S::as_simd_f32s(&self.out[channel * width..][..width]).0[..vectors],
        );
        let sums = S::as_mut_simd_f32s(sums).0;
        for place in 0..vectors {
            let mut rows: [S::f32s; ROWS] = std::array::from_fn(
                #[inline(always)]
                |row| state[row][place],
            );
            for (channel, weights) in weights.iter().enumerate() {
                for (sum, middle) in rows.iter_mut().zip(&middle) {
                    *sum = simd.mul_add_f32s(simd.splat_f32s(middle[channel]), weights[place], *sum);
                }
            }
            for (row, sum) in rows.into_iter().enumerate() {
                sums[row * vectors + place] = sum;
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[cfg(test)]
mod tests {
    use super::*;
    use crate::product::{Linear, SingleProduct};
    use crate::widths;

    /// Five rows, of which one is left over, with outlier channels.
    fn sums<S: Simd>(simd: S) -> Vec<f32> {
        const HIDDEN: usize = 6 * LANES;
        let linear = Linear::single(&[0.5; HIDDEN]).unwrap();
        let (values, residual) = (widths::noise(5 * HIDDEN), [0.25; 5 * HIDDEN]);
        let weights = widths::noise(LANES * HIDDEN);
        let norm = AddNorm::new(&[1.0; HIDDEN], &[0.0; HIDDEN], 1e-6).unwrap();
        let norm = norm.with_outliers(Outliers::new(&weights, &[0.1; LANES], &weights).unwrap()).unwrap();
        let (mut state, mut sum) = ([0.0; 5 * HIDDEN], vec![0.0; 5 * HIDDEN]);
        let product = (SingleProduct::new(&linear, &values).unwrap(), 0);
        let out = NormOutput { state: &mut state, sum: &mut sum, quantised: None };
        simd.vectorize(NormRows { norm: &norm, product, residual: &residual, out });
        sum
    }

    #[test]
    fn vectors_of_any_width_give_the_same() {
        widths::assert_same(sums, sums, sums, sums);
    }
}
