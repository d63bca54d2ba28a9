//! Attention over the tokens of one text, for one head.

use embed_gemm::{Gemm, Rows, Strips};
use pulp::Simd;

use crate::lanes::LANES;
use crate::math::exp2;
use crate::reduce;

/// Queries that are processed at a time: two tiles of products, whose scores stay in the first cache.
const QUERIES: usize = 12;

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
    (simd, gemm): (S, Gemm),
    joint: &[f32],
    width: usize,
    scratch: &mut HeadScratch,
    contexts: &mut [f32],
) {
    let tokens = contexts.len() / width;
    let padded = tokens.next_multiple_of(LANES);
    let HeadScratch { keys, weights } = scratch;
    // Old contents stay: every place is written before it is read, or its result isn't used.
    keys.resize(padded * width, 0.0);
    weights.resize(QUERIES * padded, 0.0);
    transpose(joint, width, keys);
    let keys = Strips { values: keys, stride: LANES, distance: LANES * width, count: padded / LANES };
    let values =
        Strips { values: &joint[2 * width..], stride: 3 * width, distance: LANES, count: width / LANES };
    let blocks = joint.chunks(QUERIES * 3 * width).zip(contexts.chunks_mut(QUERIES * width));
    for (queries, contexts) in blocks {
        let count = contexts.len() / width;
        let queries = Rows { values: queries, stride: 3 * width, count, depth: width };
        gemm.single(queries, keys, weights, padded);
        let mut inverses = [0.0; QUERIES];
        for (row, inverse) in weights.chunks_exact_mut(padded).take(count).zip(&mut inverses) {
            row[tokens..].fill(f32::NEG_INFINITY);
            *inverse = 1.0 / softmax(simd, row);
        }
        let rows = Rows { values: weights, stride: padded, count, depth: tokens };
        gemm.single(rows, values, contexts, width);
        for (row, inverse) in contexts.chunks_exact_mut(width).zip(inverses) {
            for value in row {
                *value *= inverse;
            }
        }
    }
}

/// Keys of [`LANES`] tokens, channel after channel; then those of the next tokens.
#[inline(always)]
fn transpose(joint: &[f32], width: usize, keys: &mut [f32]) {
    for (tokens, strip) in joint.chunks(LANES * 3 * width).zip(keys.chunks_exact_mut(LANES * width)) {
        for (token, row) in tokens.chunks_exact(3 * width).enumerate() {
            for (place, value) in strip[token..].iter_mut().step_by(LANES).zip(&row[width..2 * width]) {
                *place = *value;
            }
        }
    }
}

/// Turns scores into weights that are not yet divided by their sum, and returns that sum.
#[inline(always)]
fn softmax<S: Simd>(simd: S, scores: &mut [f32]) -> f32 {
    let largest = simd.splat_f32s(reduce::largest(simd, scores));
    for score in S::as_mut_simd_f32s(scores).0 {
        *score = exp2(simd, simd.sub_f32s(*score, largest));
    }
    reduce::sum(simd, scores)
}

#[cfg(target_arch = "x86_64")]
#[cfg(test)]
mod tests {
    use super::*;
    use crate::widths;

    /// A text that fills no vector and no block of queries.
    fn contexts<S: Simd>(simd: S) -> Vec<f32> {
        const WIDTH: usize = 2 * LANES;
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
}
