//! Attention over the tokens of one text, for one head, with products of 16-bit numbers: their sums are exact, and most
//! processors compute them in half the time of single precision.
//!
//! Queries, keys and values are whole multiples of a step, which is a fixed part of the largest of the text.

use std::iter;

use embed_gemm::{Gemm, Pair, Rows, Strips};
use pulp::Simd;

use crate::lanes::LANES;
use crate::math;
use crate::reduce;
use crate::steps::Step;

/// Queries that are processed at a time: a tile of products or two, whose scores stay in the first cache.
const QUERIES: usize = 12;

/// A score is at most this many products of steps.
const LARGEST_SCORE: f32 = (1 << 30) as f32;

/// Steps of the largest value of a text. Those of the weights of a query are at most [`WEIGHTS`] together, so a sum of their
/// products is below 2³⁰.
const LARGEST_VALUE: f32 = 4_095.0;
const WEIGHTS: f32 = (1 << 18) as f32;

/// Steps of the largest weight of a query, if the others leave room for so many.
const LARGEST_WEIGHT: f32 = 32_767.0;

/// Scratch memory, which is reused between heads.
#[derive(Debug, Default)]
pub(crate) struct HeadScratch {
    queries: Vec<Pair>,
    /// Those of one key, in order.
    of_key: Vec<Pair>,
    keys: Vec<Pair>,
    values: Vec<Pair>,
    scores: Vec<i32>,
    weights: Vec<f32>,
    steps: Vec<Pair>,
    sums: Vec<i32>,
}

/// As [`attention::attend`](crate::attention::attend).
#[inline(always)]
pub(crate) fn attend<S: Simd>(
    (simd, gemm): (S, Gemm),
    joint: &[f32],
    width: usize,
    scratch: &mut HeadScratch,
    contexts: &mut [f32],
) {
    let tokens = contexts.len() / width;
    let padded = tokens.next_multiple_of(LANES);
    let (channels, pairs) = (width / 2, tokens.div_ceil(2));
    let HeadScratch { queries, of_key, keys, values, scores, weights, steps, sums } = scratch;
    // Old contents stay: every place is written before it is read, or its result isn't used.
    queries.resize(tokens * channels, [0; 2]);
    of_key.resize(channels, [0; 2]);
    keys.resize(padded * channels, [0; 2]);
    values.resize(pairs * width, [0; 2]);
    scores.resize(QUERIES * padded, 0);
    weights.resize(padded, 0.0);
    steps.resize(QUERIES * padded / 2, [0; 2]);
    sums.resize(QUERIES * width, 0);

    let most = (LARGEST_SCORE / width as f32).sqrt();
    let [query, key, value] = largest(simd, joint, width);
    let [query, key, value] = [Step::of(query, most), Step::of(key, most), Step::of(value, LARGEST_VALUE)];
    for (row, steps) in joint.chunks_exact(3 * width).zip(queries.chunks_exact_mut(channels)) {
        query.count(&row[..width], steps);
    }
    transpose((joint, width), key, of_key, keys);
    interleave(joint, width, value, values);

    let keys = Strips { values: keys, stride: LANES, distance: LANES * channels, count: padded / LANES };
    let values = Strips { values, stride: width, distance: LANES, count: width / LANES };
    let factor = query.size * key.size;
    // What stands behind the last token has no weight.
    let mut mask = [0.0; LANES];
    mask[LANES - (padded - tokens)..].fill(f32::NEG_INFINITY);
    let blocks = queries.chunks(QUERIES * channels).zip(contexts.chunks_mut(QUERIES * width));
    for (queries, contexts) in blocks {
        let count = contexts.len() / width;
        let queries = Rows { values: queries, stride: channels, count, depth: channels };
        gemm.words(queries, keys, scores, padded);
        let mut factors = [0.0; QUERIES];
        let rows = scores.chunks_exact(padded).zip(steps.chunks_exact_mut(padded / 2));
        for ((scores, steps), of_row) in rows.zip(&mut factors).take(count) {
            let sum = softmax(simd, (scores, factor), &mask, weights);
            let weight = LARGEST_WEIGHT.min(WEIGHTS / sum);
            Step::part(weight).count(weights, steps);
            *of_row = value.size / (weight * sum);
        }
        let rows = Rows { values: steps, stride: padded / 2, count, depth: pairs };
        gemm.words(rows, values, sums, width);
        for ((row, sums), factor) in
            contexts.chunks_exact_mut(width).zip(sums.chunks_exact(width)).zip(factors)
        {
            for (value, sum) in row.iter_mut().zip(sums) {
                *value = *sum as f32 * factor;
            }
        }
    }
}

/// The largest absolute numbers of queries, keys and values. Their order doesn't matter.
#[inline(always)]
fn largest<S: Simd>(simd: S, joint: &[f32], width: usize) -> [f32; 3] {
    let mut largest = [0.0_f32; 3];
    for (part, largest) in largest.iter_mut().enumerate() {
        let mut vector = simd.splat_f32s(0.0);
        for row in joint.chunks_exact(3 * width) {
            for value in S::as_simd_f32s(&row[part * width..][..width]).0 {
                vector = simd.max_f32s(simd.abs_f32s(*value), vector);
            }
        }
        *largest = simd.reduce_max_f32s(vector);
    }
    largest
}

/// Keys of [`LANES`] tokens, two channels after two; then those of the next tokens. Behind the last token it stands again, so
/// that no score is larger than those of the text.
#[inline(always)]
fn transpose((joint, width): (&[f32], usize), step: Step, of_key: &mut [Pair], keys: &mut [Pair]) {
    for (tokens, strip) in joint.chunks(LANES * 3 * width).zip(keys.chunks_exact_mut(LANES * of_key.len())) {
        let last = &tokens[tokens.len() - 3 * width..];
        for (token, of_token) in
            tokens.chunks_exact(3 * width).chain(iter::repeat(last)).take(LANES).enumerate()
        {
            // In order first: those are vector instructions.
            step.count(&of_token[width..2 * width], of_key);
            for (place, pair) in strip[token..].iter_mut().step_by(LANES).zip(&*of_key) {
                *place = *pair;
            }
        }
    }
}

/// The values of two tokens, channel after channel; then those of the next two.
#[inline(always)]
fn interleave(joint: &[f32], width: usize, step: Step, values: &mut [Pair]) {
    for (tokens, row) in joint.chunks(2 * 3 * width).zip(values.chunks_exact_mut(width)) {
        let first = &tokens[2 * width..3 * width];
        // The last of an odd number of tokens stands beside itself, with a weight of 0.
        let second = &tokens[tokens.len() - width..];
        for (pair, (first, second)) in row.iter_mut().zip(first.iter().zip(second)) {
            *pair = [step.nearest(*first), step.nearest(*second)];
        }
    }
}

/// Turns scores into weights that are not yet divided by their sum, and returns that sum. To the exponents of the last ones the
/// mask is added.
#[inline(always)]
fn softmax<S: Simd>(
    simd: S,
    (scores, factor): (&[i32], f32),
    mask: &[f32; LANES],
    weights: &mut [f32],
) -> f32 {
    let mut largest = i32::MIN;
    for score in scores {
        largest = largest.max(*score);
    }
    let mut sums = [simd.splat_f32s(0.0); LANES];
    let exponent = |score: i32| (score - largest) as f32 * factor;
    let (blocks, _) = scores.as_chunks::<LANES>();
    let (weights, _) = weights.as_chunks_mut::<LANES>();
    let (Some((last, blocks)), Some((last_weights, weights))) =
        (blocks.split_last(), weights.split_last_mut())
    else {
        return 0.0;
    };
    for (block, weights) in blocks.iter().zip(weights) {
        powers(simd, &block.map(exponent), weights, &mut sums);
    }
    let mut exponents = last.map(exponent);
    for (exponent, mask) in exponents.iter_mut().zip(mask) {
        *exponent += mask;
    }
    powers(simd, &exponents, last_weights, &mut sums);
    reduce::joined::<S, LANES>(sums, reduce::add)
}

/// Writes the powers of two with these exponents, and adds each to the sum at its place.
#[inline(always)]
fn powers<S: Simd>(simd: S, exponents: &[f32; LANES], powers: &mut [f32], sums: &mut [S::f32s; LANES]) {
    let exponents = S::as_simd_f32s(exponents).0.iter();
    for ((power, exponent), sum) in S::as_mut_simd_f32s(powers).0.iter_mut().zip(exponents).zip(sums) {
        *power = math::exp2(simd, *exponent);
        *sum = simd.add_f32s(*sum, *power);
    }
}

#[cfg(target_arch = "x86_64")]
#[cfg(test)]
mod tests {
    use super::*;
    use crate::{attention, widths};

    const WIDTH: usize = 2 * LANES;

    /// A text that fills no vector, no block of queries and no pair.
    fn contexts<S: Simd>(simd: S) -> Vec<f32> {
        let tokens = 37;
        let joint = widths::noise(tokens * 3 * WIDTH);
        let mut contexts = vec![0.0; tokens * WIDTH];
        attend((simd, Gemm::detect()), &joint, WIDTH, &mut HeadScratch::default(), &mut contexts);
        contexts
    }

    #[test]
    fn vectors_of_any_width_give_the_same() {
        widths::assert_same(contexts, contexts, contexts, contexts);
    }

    #[test]
    fn contexts_are_those_of_single_precision() {
        for (tokens, loudness) in [(1, 1.0), (2, 0.0), (37, 3.0), (512, 0.1), (513, 3.0)] {
            let joint: Vec<f32> =
                widths::noise(tokens * 3 * WIDTH).into_iter().map(|value| value * loudness).collect();
            let [mut got, mut want] = [0, 1].map(|_| vec![0.0; tokens * WIDTH]);
            let way = (pulp::Scalar, Gemm::detect());
            attend(way, &joint, WIDTH, &mut HeadScratch::default(), &mut got);
            attention::attend(way, &joint, WIDTH, &mut attention::HeadScratch::default(), &mut want);
            for (got, want) in got.iter().zip(&want) {
                assert!((got - want).abs() <= 2e-3 * loudness, "{tokens} tokens: {got} is not {want}");
            }
        }
    }
}
