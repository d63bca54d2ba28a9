//! The formulas in double precision, and numbers to feed them with.

/// Numbers that look like noise, between −2 and 2, the same for the same seed.
pub(crate) fn noise(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..count)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1_u32 << 22) as f32 - 2.0
        })
        .collect()
}

pub(crate) fn assert_near(got: &[f32], want: &[f64], error: f64) {
    assert_eq!(got.len(), want.len());
    for (place, (&got, &want)) in got.iter().zip(want).enumerate() {
        let distance = (f64::from(got) - want).abs();
        assert!(distance <= error * want.abs().max(1.0), "{place}: {got} is not {want}");
    }
}

pub(crate) fn gelu(x: f64) -> f64 {
    0.5 * x * (1.0 + libm::erf(x * std::f64::consts::FRAC_1_SQRT_2))
}

/// A linear layer over rows: weights `[inputs, outputs]`.
pub(crate) fn linear(rows: &[f64], weights: &[f32], bias: &[f32]) -> Vec<f64> {
    let inputs = weights.len() / bias.len();
    let mut out = Vec::new();
    for row in rows.chunks_exact(inputs) {
        let mut sums: Vec<f64> = bias.iter().map(|&bias| bias.into()).collect();
        for (value, weights) in row.iter().zip(weights.chunks_exact(bias.len())) {
            sums.iter_mut().zip(weights).for_each(|(sum, weight)| *sum += value * f64::from(*weight));
        }
        out.extend(sums);
    }
    out
}

/// What is left of rows that are multiplied by factors (if there are any), rounded to steps of a 127th of their range, and
/// divided again.
pub(crate) fn quantised(rows: &[f64], width: usize, factors: &[f32]) -> Vec<f64> {
    let factor = |channel: usize| factors.get(channel).map_or(1.0, |&factor| f64::from(factor));
    let mut out = Vec::new();
    for row in rows.chunks_exact(width) {
        let row: Vec<f64> = row.iter().enumerate().map(|(channel, value)| value * factor(channel)).collect();
        let [low, high] = [
            row.iter().copied().fold(f64::INFINITY, f64::min),
            row.iter().copied().fold(-f64::INFINITY, f64::max),
        ];
        let step = (high - low) / 127.0;
        let value =
            |(channel, value): (usize, &f64)| (low + ((value - low) / step).round() * step) / factor(channel);
        out.extend(row.iter().enumerate().map(value));
    }
    out
}

/// A number as the nearest multiple of a step.
fn rounded(number: f64, step: f64) -> f64 {
    if step == 0.0 { number } else { (number / step).round() * step }
}

/// Queries, keys and values as attention between products in 8 or 16 bits rounds them: see `integer_attention`.
pub(crate) fn rounded_joint(joint: &[f64], heads: usize, width: usize) -> Vec<f64> {
    let score = (f64::from(1 << 30) / width as f64).sqrt();
    let mut rounded_joint = joint.to_vec();
    for head in 0..heads {
        for (part, steps) in [score, score, 4_095.0].into_iter().enumerate() {
            let place = (3 * head + part) * width..(3 * head + part + 1) * width;
            let rows = joint.chunks_exact(3 * heads * width);
            let largest = rows.flat_map(|row| &row[place.clone()]).fold(0.0, |a: f64, b| a.max(b.abs()));
            for row in rounded_joint.chunks_exact_mut(3 * heads * width) {
                row[place.clone()].iter_mut().for_each(|number| *number = rounded(*number, largest / steps));
            }
        }
    }
    rounded_joint
}

/// The contexts of one text. The rows of `joint` have query, key and value of the first head, then of the second. `words` is
/// whether weights are rounded as attention does between products in 8 or 16 bits.
pub(crate) fn attention(joint: &[f64], heads: usize, width: usize, words: bool) -> Vec<f64> {
    let tokens = joint.len() / (3 * heads * width);
    let part = |part: usize, head: usize, token: usize| {
        &joint[((token * heads + head) * 3 + part) * width..][..width]
    };
    let mut rows = vec![0.0; tokens * heads * width];
    for (place, out) in rows.chunks_exact_mut(width).enumerate() {
        let (token, head) = (place / heads, place % heads);
        let score = |key: usize| -> f64 {
            part(0, head, token).iter().zip(part(1, head, key)).map(|(q, k)| q * k).sum()
        };
        let scores: Vec<f64> = (0..tokens).map(score).collect();
        let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = scores.iter().map(|score| (score - largest).exp2()).sum();
        let step = if words { 1.0 / f64::min(32_767.0, f64::from(1 << 18) / total) } else { 0.0 };
        for (key, score) in scores.iter().enumerate() {
            let weight = rounded((score - largest).exp2(), step) / total;
            for (out, value) in out.iter_mut().zip(part(2, head, key)) {
                *out += weight * value;
            }
        }
    }
    rows
}

/// The normalised sums of rows and residuals.
pub(crate) fn norm(rows: &[f64], residual: &[f64], scale: &[f32], bias: &[f32], epsilon: f64) -> Vec<f64> {
    let width = scale.len();
    let mut out = Vec::new();
    for (row, residual) in rows.chunks_exact(width).zip(residual.chunks_exact(width)) {
        let sum: Vec<f64> = row.iter().zip(residual).map(|(a, b)| a + b).collect();
        let mean = sum.iter().sum::<f64>() / width as f64;
        let variance = sum.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / width as f64;
        let normed = sum.iter().map(|value| (value - mean) / (variance + epsilon).sqrt());
        let constants = scale.iter().zip(bias);
        out.extend(
            normed.zip(constants).map(|(value, (scale, bias))| value * f64::from(*scale) + f64::from(*bias)),
        );
    }
    out
}
