//! Attention over the tokens of one text, head by head.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use crate::lanes::{LANES, UnfitLength};
use crate::math::exp2;
use crate::output::RowsOutput;
use crate::processor::Processor;
use crate::product::{Product, ProductRows};

/// Queries that are processed at a time. With two vectors of keys their sums fill twelve of sixteen registers.
const QUERIES: usize = 6;

/// Heads whose rows are read together. Short pieces of rows are slow to read, and long ones of many tokens would leave the
/// caches before they are used.
const HEADS: usize = 4;

/// Scaled dot-product attention of several heads. The queries must include the scale and log₂ e, since the weights are
/// powers of two.
///
/// The rows hold the queries of all heads, then their keys, then their values.
#[derive(Debug, Clone, Copy)]
pub struct Attention {
    processor: Processor,
    heads: usize,
    /// Values of a head.
    width: usize,
}

/// Scratch memory for a head, which is reused between heads.
#[derive(Debug, Default)]
pub struct HeadScratch {
    queries: Vec<f32>,
    keys: Vec<f32>,
    values: Vec<f32>,
    weights: Vec<f32>,
    row: Vec<f32>,
}

impl Attention {
    /// Attention with this many heads of this width.
    ///
    /// # Errors
    ///
    /// If the width of a head isn't a multiple of two [`LANES`].
    pub fn new(processor: Processor, heads: usize, width: usize) -> Result<Self, UnfitLength> {
        if heads == 0 || width == 0 || !width.is_multiple_of(2 * LANES) {
            return Err(UnfitLength { what: "a head", length: width });
        }
        Ok(Self { processor, heads, width })
    }

    /// Values of a row of all heads.
    #[must_use]
    pub fn hidden(&self) -> usize {
        self.heads * self.width
    }

    /// Values of a row of one head.
    #[must_use]
    pub fn head_width(&self) -> usize {
        self.width
    }

    /// Computes the contexts of some heads for each token of a text, whose rows are those of `joint` from `first` on: one head
    /// after the other, for as many tokens as `contexts` has room for.
    pub fn heads(
        &self,
        (joint, first): (Product<'_>, usize),
        heads: Range<usize>,
        scratch: &mut HeadScratch,
        contexts: &mut [f32],
    ) {
        let tokens = contexts.len() / (heads.len() * self.width).max(1);
        let groups = heads.step_by(HEADS).zip(contexts.chunks_mut((HEADS * tokens * self.width).max(1)));
        for (head, contexts) in groups {
            let place = HeadGroup { first, tokens, head, heads: self.heads, width: self.width };
            let arch = self.processor.0;
            match joint {
                Product::Single(joint) => arch.dispatch(Heads { joint, place, scratch, contexts }),
                Product::Integer(joint) => arch.dispatch(Heads { joint, place, scratch, contexts }),
            }
        }
    }

    /// Turns the contexts of all heads of a text, one head after the other, into rows.
    pub fn rows(&self, contexts: &[f32], out: RowsOutput<'_>) {
        self.processor.0.dispatch(Gather { heads: self.heads, width: self.width, contexts, out });
    }
}

/// Some heads of a text.
#[derive(Clone, Copy)]
struct HeadGroup {
    /// The first row of the text.
    first: usize,
    tokens: usize,
    /// The first head.
    head: usize,
    /// All heads.
    heads: usize,
    width: usize,
}

/// The work on some heads.
struct Heads<'a, R> {
    joint: R,
    place: HeadGroup,
    scratch: &'a mut HeadScratch,
    contexts: &'a mut [f32],
}

impl<R: ProductRows> WithSimd for Heads<'_, R> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { joint, place: HeadGroup { first, tokens, head, heads, width }, scratch, contexts } = self;
        // Keys are stored in panels of two vectors.
        let panel = 2 * S::F32_LANES;
        let padded = tokens.next_multiple_of(panel);
        let queried = tokens.next_multiple_of(QUERIES);
        let count = contexts.len() / (tokens * width);
        let HeadScratch { queries, keys, values, weights, row } = scratch;
        fill(queries, count * queried * width);
        fill(keys, count * padded * width);
        fill(values, count * tokens * width);
        fill(weights, QUERIES * padded);
        fill(row, count * width);
        let [query, key, value] = [0, 1, 2].map(|part| (part * heads + head) * width);
        for token in 0..tokens {
            joint.read(first + token, query, row);
            for (row, queries) in row.chunks_exact(width).zip(queries.chunks_exact_mut(queried * width)) {
                queries[token * width..][..width].copy_from_slice(row);
            }
            joint.read(first + token, key, row);
            let place = token / panel * panel * width + token % panel;
            for (row, keys) in row.chunks_exact(width).zip(keys.chunks_exact_mut(padded * width)) {
                keys[place..].iter_mut().step_by(panel).zip(row).for_each(|(slot, value)| *slot = *value);
            }
            joint.read(first + token, value, row);
            for (row, values) in row.chunks_exact(width).zip(values.chunks_exact_mut(tokens * width)) {
                values[token * width..][..width].copy_from_slice(row);
            }
        }
        for (head, context) in contexts.chunks_exact_mut(tokens * width).enumerate() {
            let keys = &keys[head * padded * width..][..padded * width];
            let values = &values[head * tokens * width..][..tokens * width];
            let queries = queries[head * queried * width..].chunks_exact(QUERIES * width);
            for (queries, context) in queries.zip(context.chunks_mut(QUERIES * width)) {
                scores(simd, queries, keys, weights, width);
                let sums = softmax(simd, weights, tokens);
                gather(simd, weights, values, (width, tokens), sums, context);
            }
        }
    }
}

/// Resizes a buffer. Old contents stay, because every place is written before it is read, or the result isn't used.
fn fill(buffer: &mut Vec<f32>, length: usize) {
    buffer.resize(length, 0.0);
}

/// The products of [`QUERIES`] queries with all keys, row after row.
#[inline(always)]
fn scores<S: Simd>(simd: S, queries: &[f32], keys: &[f32], scores: &mut [f32], width: usize) {
    let panel = 2 * S::F32_LANES;
    let queries: [&[f32]; QUERIES] = std::array::from_fn(|row| &queries[row * width..][..width]);
    let padded = scores.len() / QUERIES;
    for (place, keys) in keys.chunks_exact(panel * width).enumerate() {
        let keys = &S::as_simd_f32s(keys).0.as_chunks::<2>().0[..width];
        let mut sums = [[simd.splat_f32s(0.0); 2]; QUERIES];
        for (channel, keys) in keys.iter().enumerate() {
            for (sums, queries) in sums.iter_mut().zip(queries) {
                let query = simd.splat_f32s(queries[channel]);
                sums[0] = simd.mul_add_f32s(query, keys[0], sums[0]);
                sums[1] = simd.mul_add_f32s(query, keys[1], sums[1]);
            }
        }
        for (row, sums) in scores.chunks_exact_mut(padded).zip(sums) {
            S::as_mut_simd_f32s(&mut row[place * panel..(place + 1) * panel]).0.copy_from_slice(&sums);
        }
    }
}

/// Turns scores into weights that are not yet divided by their sums, and returns those sums.
#[inline(always)]
fn softmax<S: Simd>(simd: S, scores: &mut [f32], tokens: usize) -> [f32; QUERIES] {
    let padded = scores.len() / QUERIES;
    let mut sums = [0.0; QUERIES];
    for (row, sum) in scores.chunks_exact_mut(padded).zip(&mut sums) {
        row[tokens..].fill(f32::NEG_INFINITY);
        let row = S::as_mut_simd_f32s(row).0.as_chunks_mut::<2>().0;
        let least = simd.splat_f32s(f32::NEG_INFINITY);
        let mut largest = [least; 2];
        for pair in row.iter() {
            largest = [simd.max_f32s(pair[0], largest[0]), simd.max_f32s(pair[1], largest[1])];
        }
        let largest = simd.splat_f32s(simd.reduce_max_f32s(simd.max_f32s(largest[0], largest[1])));
        let mut totals = [simd.splat_f32s(0.0); 2];
        for pair in row {
            for (value, total) in pair.iter_mut().zip(&mut totals) {
                *value = exp2(simd, simd.sub_f32s(*value, largest));
                *total = simd.add_f32s(*total, *value);
            }
        }
        *sum = simd.reduce_sum_f32s(simd.add_f32s(totals[0], totals[1]));
    }
    sums
}

/// Sums the values of all tokens by their weights, for as many queries as there are rows in `context`.
#[inline(always)]
fn gather<S: Simd>(
    simd: S,
    weights: &[f32],
    values: &[f32],
    (width, tokens): (usize, usize),
    totals: [f32; QUERIES],
    context: &mut [f32],
) {
    let padded = weights.len() / QUERIES;
    let panel = 2 * S::F32_LANES;
    let weights: [&[f32]; QUERIES] = std::array::from_fn(|row| &weights[row * padded..][..tokens]);
    for column in (0..width).step_by(panel) {
        let mut sums = [[simd.splat_f32s(0.0); 2]; QUERIES];
        for (token, values) in values.chunks_exact(width).take(tokens).enumerate() {
            let values = S::as_simd_f32s(&values[column..column + panel]).0;
            for (sums, weights) in sums.iter_mut().zip(weights) {
                let weight = simd.splat_f32s(weights[token]);
                sums[0] = simd.mul_add_f32s(weight, values[0], sums[0]);
                sums[1] = simd.mul_add_f32s(weight, values[1], sums[1]);
            }
        }
        for ((row, sums), total) in context.chunks_exact_mut(width).zip(sums).zip(totals) {
            let inverse = simd.splat_f32s(1.0 / total);
            let sums = sums.map(|sum| simd.mul_f32s(sum, inverse));
            S::as_mut_simd_f32s(&mut row[column..column + panel]).0.copy_from_slice(&sums);
        }
    }
}

/// Copies the contexts of heads side by side.
struct Gather<'a> {
    heads: usize,
    width: usize,
    contexts: &'a [f32],
    out: RowsOutput<'a>,
}

impl WithSimd for Gather<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { heads, width, contexts, out } = self;
        let tokens = contexts.len() / (heads * width);
        out.write(
            simd,
            heads * width,
            #[inline(always)]
            |token, row| {
                for (head, part) in row.chunks_exact_mut(width).enumerate() {
                    part.copy_from_slice(&contexts[(head * tokens + token) * width..][..width]);
                }
            },
        );
    }
}

#[cfg(target_arch = "x86_64")]
#[cfg(test)]
mod tests {
    use super::*;
    use crate::product::{Linear, SingleProduct};
    use crate::widths;

    /// Two heads of a text that fills no panel and no block of queries.
    fn contexts<S: Simd>(simd: S) -> Vec<f32> {
        const HIDDEN: usize = 4 * LANES;
        let tokens = 37;
        let linear = Linear::single(&[0.0; 3 * HIDDEN]).unwrap();
        let values = widths::noise(tokens * 3 * HIDDEN);
        let joint = SingleProduct::new(&linear, &values).unwrap();
        let mut contexts = vec![0.0; tokens * HIDDEN];
        let place = HeadGroup { first: 0, tokens, head: 0, heads: 2, width: 2 * LANES };
        let mut scratch = HeadScratch::default();
        simd.vectorize(Heads { joint, place, scratch: &mut scratch, contexts: &mut contexts });
        contexts
    }

    #[test]
    fn vectors_of_any_width_give_the_same() {
        widths::assert_same(contexts, contexts, contexts, contexts);
    }
}
