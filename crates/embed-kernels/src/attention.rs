//! Attention over the tokens of one text, for one head.

use pulp::Simd;

use crate::math::exp2;

/// Queries that are processed at a time. With two vectors of keys their sums fill twelve of sixteen registers.
const QUERIES: usize = 6;

/// Scratch memory, which is reused between heads.
#[derive(Debug, Default)]
pub(crate) struct HeadScratch {
    keys: Vec<f32>,
    weights: Vec<f32>,
}

/// Scaled dot-product attention of one head over all tokens of a text. A row of `joint` has the query of a token, its key and
/// its value, each as wide as a row of `contexts`. The queries must include the scale and log₂ e, since the weights are powers
/// of two.
#[inline(always)]
pub(crate) fn attend<S: Simd>(
    simd: S,
    joint: &[f32],
    width: usize,
    scratch: &mut HeadScratch,
    contexts: &mut [f32],
) {
    let tokens = contexts.len() / width;
    let padded = tokens.next_multiple_of(S::F32_LANES);
    let HeadScratch { keys, weights } = scratch;
    // Old contents stay: every place is written before it is read, or its result isn't used.
    keys.resize(padded * width, 0.0);
    weights.resize(QUERIES * padded, 0.0);
    transpose::<S>(joint, width, keys);
    let blocks = joint.chunks(QUERIES * 3 * width).zip(contexts.chunks_mut(QUERIES * width));
    for (queries, contexts) in blocks {
        // The last block has its last query several times.
        let last = contexts.len() / width - 1;
        let queries: [&[f32]; QUERIES] = std::array::from_fn(
            #[inline(always)]
            |query| &queries[query.min(last) * 3 * width..][..width],
        );
        scores(simd, &queries, keys, weights);
        let sums = softmax(simd, weights, tokens);
        gather(simd, weights, (joint, width), sums, contexts);
    }
}

/// Keys of as many tokens as a vector has, channel after channel; then those of the next tokens.
#[inline(always)]
fn transpose<S: Simd>(joint: &[f32], width: usize, keys: &mut [f32]) {
    let lanes = S::F32_LANES;
    for (tokens, panel) in joint.chunks(lanes * 3 * width).zip(keys.chunks_exact_mut(lanes * width)) {
        for (token, row) in tokens.chunks_exact(3 * width).enumerate() {
            let places = panel[token..].iter_mut().step_by(lanes);
            places.zip(&row[width..2 * width]).for_each(|(place, value)| *place = *value);
        }
    }
}

/// The products of [`QUERIES`] queries with all keys, row after row.
#[inline(always)]
fn scores<S: Simd>(simd: S, queries: &[&[f32]; QUERIES], keys: &[f32], scores: &mut [f32]) {
    let width = queries[0].len();
    let padded = scores.len() / QUERIES;
    let keys = S::as_simd_f32s(keys).0;
    for (place, pair) in keys.chunks(2 * width).enumerate() {
        let (first, second) = pair.split_at(width);
        if second.is_empty() {
            let sums = dots(simd, queries, &[first]);
            for (row, sums) in scores.chunks_exact_mut(padded).zip(sums) {
                S::as_mut_simd_f32s(row).0[2 * place..].copy_from_slice(&sums);
            }
        } else {
            let sums = dots(simd, queries, &[first, second]);
            for (row, sums) in scores.chunks_exact_mut(padded).zip(sums) {
                S::as_mut_simd_f32s(row).0[2 * place..2 * place + 2].copy_from_slice(&sums);
            }
        }
    }
}

/// The products of queries with some vectors of keys.
#[inline(always)]
fn dots<S: Simd, const N: usize>(
    simd: S,
    queries: &[&[f32]; QUERIES],
    keys: &[&[S::f32s]; N],
) -> [[S::f32s; N]; QUERIES] {
    let width = queries[0].len();
    let keys: [&[S::f32s]; N] = std::array::from_fn(
        #[inline(always)]
        |vector| &keys[vector][..width],
    );
    let queries: [&[f32]; QUERIES] = std::array::from_fn(
        #[inline(always)]
        |query| &queries[query][..width],
    );
    let mut sums = [[simd.splat_f32s(0.0); N]; QUERIES];
    for channel in 0..width {
        for (sums, query) in sums.iter_mut().zip(&queries) {
            let value = simd.splat_f32s(query[channel]);
            for (sum, keys) in sums.iter_mut().zip(&keys) {
                *sum = simd.mul_add_f32s(value, keys[channel], *sum);
            }
        }
    }
    sums
}

/// Turns scores into weights that are not yet divided by their sums, and returns those sums.
#[inline(always)]
fn softmax<S: Simd>(simd: S, scores: &mut [f32], tokens: usize) -> [f32; QUERIES] {
    let padded = scores.len() / QUERIES;
    let mut sums = [0.0; QUERIES];
    for (row, sum) in scores.chunks_exact_mut(padded).zip(&mut sums) {
        row[tokens..].fill(f32::NEG_INFINITY);
        let row = S::as_mut_simd_f32s(row).0;
        let mut largest = [simd.splat_f32s(f32::NEG_INFINITY); 2];
        let (pairs, rest) = row.as_chunks::<2>();
        for pair in pairs {
            largest = [simd.max_f32s(pair[0], largest[0]), simd.max_f32s(pair[1], largest[1])];
        }
        for vector in rest {
            largest[0] = simd.max_f32s(*vector, largest[0]);
        }
        let largest = simd.splat_f32s(simd.reduce_max_f32s(simd.max_f32s(largest[0], largest[1])));
        let mut totals = [simd.splat_f32s(0.0); 2];
        let (pairs, rest) = row.as_chunks_mut::<2>();
        for pair in pairs {
            for (value, total) in pair.iter_mut().zip(&mut totals) {
                *value = exp2(simd, simd.sub_f32s(*value, largest));
                *total = simd.add_f32s(*total, *value);
            }
        }
        for value in rest {
            *value = exp2(simd, simd.sub_f32s(*value, largest));
            totals[0] = simd.add_f32s(totals[0], *value);
        }
        *sum = simd.reduce_sum_f32s(simd.add_f32s(totals[0], totals[1]));
    }
    sums
}

/// Sums the values of all tokens by their weights, for as many queries as there are rows in `contexts`.
#[inline(always)]
fn gather<S: Simd>(
    simd: S,
    weights: &[f32],
    (joint, width): (&[f32], usize),
    totals: [f32; QUERIES],
    contexts: &mut [f32],
) {
    let padded = weights.len() / QUERIES;
    let tokens = joint.len() / (3 * width);
    let pair = 2 * S::F32_LANES;
    let weights: [&[f32]; QUERIES] = std::array::from_fn(
        #[inline(always)]
        |row| &weights[row * padded..][..tokens],
    );
    for column in (0..width).step_by(pair) {
        let mut sums = [[simd.splat_f32s(0.0); 2]; QUERIES];
        for (token, row) in joint.chunks_exact(3 * width).enumerate() {
            let values = S::as_simd_f32s(&row[2 * width + column..][..pair]).0;
            for (sums, weights) in sums.iter_mut().zip(&weights) {
                let weight = simd.splat_f32s(weights[token]);
                sums[0] = simd.mul_add_f32s(weight, values[0], sums[0]);
                sums[1] = simd.mul_add_f32s(weight, values[1], sums[1]);
            }
        }
        for ((row, sums), total) in contexts.chunks_exact_mut(width).zip(sums).zip(totals) {
            let inverse = simd.splat_f32s(1.0 / total);
            let sums = sums.map(|sum| simd.mul_f32s(sum, inverse));
            S::as_mut_simd_f32s(&mut row[column..column + pair]).0.copy_from_slice(&sums);
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[cfg(test)]
mod tests {
    use super::*;
    use crate::lanes::LANES;
    use crate::widths;

    /// A text that fills no vector and no block of queries.
    fn contexts<S: Simd>(simd: S) -> Vec<f32> {
        const WIDTH: usize = 2 * LANES;
        let tokens = 37;
        let joint = widths::noise(tokens * 3 * WIDTH);
        let mut contexts = vec![0.0; tokens * WIDTH];
        attend(simd, &joint, WIDTH, &mut HeadScratch::default(), &mut contexts);
        contexts
    }

    #[test]
    fn vectors_of_any_width_give_the_same() {
        widths::assert_same(contexts, contexts, contexts, contexts);
    }
}
