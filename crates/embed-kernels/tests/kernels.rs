//! The kernels against the formulas in double precision, and the promise that a row depends on its own row alone.

// Lint settings let tests unwrap, but not what they share.
#![allow(clippy::unwrap_used)]

use embed_kernels::{
    AddNorm, Attention, HeadScratch, IntegerProduct, LANES, Linear, NormOutput, Outliers, PACKED_BLOCK_BYTES,
    Processor, Product, QuantisedRows, RowsOutput, SingleProduct, gelu, mean, unpack,
};
use proptest::prelude::*;

const HEADS: usize = 3;
const WIDTH: usize = 32;
const HIDDEN: usize = HEADS * WIDTH;

/// Numbers that look like noise, between −2 and 2, the same for the same seed.
fn noise(seed: u64, count: usize) -> Vec<f32> {
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

/// An 8-bit product of so many rows: its sums, the scales of its rows, and the values that they stand for.
struct Integer {
    linear: Linear,
    sums: Vec<i32>,
    rows: Vec<f32>,
    values: Vec<f64>,
}

impl Integer {
    fn new(seed: u64, count: usize, width: usize) -> Self {
        let sums: Vec<i32> =
            noise(seed, count * width).iter().map(|value| (value * 5_000.0) as i32).collect();
        let rows: Vec<f32> =
            noise(seed + 1, 2 * count).iter().map(|value| value.abs() / 100.0 + 0.001).collect();
        let (scales, column_sums, bias) =
            (noise(seed + 2, width), noise(seed + 3, width), noise(seed + 4, width));
        let scales: Vec<f32> = scales.iter().map(|scale| scale.abs() / 100.0).collect();
        let value = |(place, &sum): (usize, &i32)| {
            let (row, column) = (place / width, place % width);
            let [scale, low] = [f64::from(rows[2 * row]), f64::from(rows[2 * row + 1])];
            let product = scale * f64::from(scales[column]) * f64::from(sum);
            product + low * f64::from(column_sums[column]) + f64::from(bias[column])
        };
        let values = sums.iter().enumerate().map(value).collect();
        Self { linear: Linear::integer(&bias, &scales, &column_sums).unwrap(), sums, rows, values }
    }

    fn product(&self) -> Product<'_> {
        Product::Integer(IntegerProduct::new(&self.linear, &self.sums, &self.rows).unwrap())
    }

    /// The product of some of its rows alone.
    fn part(&self, rows: std::ops::Range<usize>) -> Product<'_> {
        let width = self.linear.width();
        let sums = &self.sums[rows.start * width..rows.end * width];
        let rows = &self.rows[2 * rows.start..2 * rows.end];
        Product::Integer(IntegerProduct::new(&self.linear, sums, rows).unwrap())
    }
}

fn assert_near(got: &[f32], want: &[f64], error: f64) {
    assert_eq!(got.len(), want.len());
    for (place, (&got, &want)) in got.iter().zip(want).enumerate() {
        let distance = (f64::from(got) - want).abs();
        assert!(distance <= error * want.abs().max(1.0), "{place}: {got} is not {want}");
    }
}

fn exact_gelu(x: f64) -> f64 {
    // The error function by Simpson's rule over 2,000 steps.
    let step = x / std::f64::consts::SQRT_2 / 2_000.0;
    let at = |place: i32| (-(f64::from(place) * step).powi(2)).exp();
    let sum: f64 = (0..1_000).map(|pair| at(2 * pair) + 4.0 * at(2 * pair + 1) + at(2 * pair + 2)).sum();
    0.5 * x * (1.0 + sum * step / 3.0 * std::f64::consts::FRAC_2_SQRT_PI)
}

/// Contexts of one text as rows.
fn attend(attention: &Attention, joint: (Product<'_>, usize), tokens: usize) -> Vec<f32> {
    let mut scratch = HeadScratch::default();
    let mut contexts = vec![0.0; tokens * HIDDEN];
    attention.heads(joint, 0..HEADS, &mut scratch, &mut contexts);
    let mut rows = vec![0.0; tokens * HIDDEN];
    attention.rows(&contexts, RowsOutput::Single(&mut rows));
    rows
}

fn exact_attention(joint: &[f64], tokens: usize) -> Vec<f64> {
    let part = |part: usize, head: usize, token: usize| {
        &joint[token * 3 * HIDDEN + part * HIDDEN + head * WIDTH..][..WIDTH]
    };
    let mut rows = vec![0.0; tokens * HIDDEN];
    for (place, out) in rows.chunks_exact_mut(WIDTH).enumerate() {
        let (token, head) = (place / HEADS, place % HEADS);
        let score = |key: usize| -> f64 {
            part(0, head, token).iter().zip(part(1, head, key)).map(|(q, k)| q * k).sum()
        };
        let scores: Vec<f64> = (0..tokens).map(score).collect();
        let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = scores.iter().map(|score| (score - largest).exp2()).sum();
        for (key, score) in scores.iter().enumerate() {
            let weight = (score - largest).exp2() / total;
            for (out, value) in out.iter_mut().zip(part(2, head, key)) {
                *out += weight * value;
            }
        }
    }
    rows
}

struct Normed {
    state: Vec<f32>,
    sum: Vec<f32>,
    bytes: Vec<u8>,
    rows: Vec<f32>,
}

fn run_norm(norm: &AddNorm, product: (Product<'_>, usize), residual: &[f32]) -> Normed {
    let count = residual.len() / HIDDEN;
    let (mut state, mut sum) = (vec![0.0; residual.len()], vec![0.0; residual.len()]);
    let (mut bytes, mut rows) = (vec![0; residual.len()], vec![0.0; 2 * count]);
    let quantised = QuantisedRows::new(&mut bytes, &mut rows, HIDDEN).unwrap();
    let out = NormOutput { state: &mut state, sum: &mut sum, quantised: Some(quantised) };
    norm.run(Processor::detect(), product, residual, out);
    Normed { state, sum, bytes, rows }
}

fn norm(seed: u64) -> (AddNorm, [Vec<f32>; 6]) {
    let lengths = [HIDDEN, HIDDEN, HIDDEN, LANES * HIDDEN, LANES, LANES * HIDDEN];
    let mut seeds = seed..;
    let mut parts = lengths.map(|length| noise(seeds.next().unwrap(), length));
    for weights in [3, 5] {
        parts[weights].iter_mut().for_each(|weight| *weight /= 20.0);
    }
    let [scale, bias, factors, into, apart_bias, out] = &parts;
    let norm = AddNorm::new(scale, bias, 1e-6).unwrap().with_factors(factors).unwrap();
    (norm.with_outliers(Outliers::new(into, apart_bias, out).unwrap()).unwrap(), parts)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(48) })]

    #[test]
    fn attention_is_the_formula(tokens in 1_usize..90, seed in 0_u64..1_000) {
        let joint = Integer::new(seed, tokens, 3 * HIDDEN);
        let attention = Attention::new(Processor::detect(), HEADS, WIDTH).unwrap();
        let got = attend(&attention, (joint.product(), 0), tokens);
        assert_near(&got, &exact_attention(&joint.values, tokens), 2e-4);
    }

    #[test]
    fn attention_looks_at_its_own_text_alone(before in 0_usize..40, tokens in 1_usize..70, after in 0_usize..40, seed in 0_u64..1_000) {
        let joint = Integer::new(seed, before + tokens + after, 3 * HIDDEN);
        let attention = Attention::new(Processor::detect(), HEADS, WIDTH).unwrap();
        let among = attend(&attention, (joint.product(), before), tokens);
        let alone = attend(&attention, (joint.part(before..before + tokens), 0), tokens);
        prop_assert_eq!(among, alone);
    }

    #[test]
    fn a_norm_is_the_formula(count in 1_usize..9, seed in 0_u64..1_000) {
        let product = Integer::new(seed, count, HIDDEN);
        let residual = noise(seed + 10, count * HIDDEN);
        let (norm, [scale, bias, factors, into, apart_bias, out]) = norm(seed + 20);
        let got = run_norm(&norm, (product.product(), 0), &residual);
        let mut state = Vec::new();
        for (values, residual) in product.values.chunks(HIDDEN).zip(residual.chunks(HIDDEN)) {
            let sum: Vec<f64> = values.iter().zip(residual).map(|(a, b)| a + f64::from(*b)).collect();
            let mean = sum.iter().sum::<f64>() / HIDDEN as f64;
            let variance = sum.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / HIDDEN as f64;
            let normed = sum.iter().map(|value| (value - mean) / (variance + 1e-6).sqrt());
            let scaled = normed.zip(scale.iter().zip(&bias));
            state.extend(scaled.map(|(value, (scale, bias))| value * f64::from(*scale) + f64::from(*bias)));
        }
        assert_near(&got.state, &state, 1e-4);
        let mut sums = state.clone();
        for (state, sums) in state.chunks(HIDDEN).zip(sums.chunks_mut(HIDDEN)) {
            for (channel, (into, out)) in into.chunks(HIDDEN).zip(out.chunks(HIDDEN)).enumerate() {
                let dot: f64 = state.iter().zip(into).map(|(a, b)| a * f64::from(*b)).sum();
                let middle = exact_gelu(dot + f64::from(apart_bias[channel]));
                sums.iter_mut().zip(out).for_each(|(sum, weight)| *sum += middle * f64::from(*weight));
            }
        }
        assert_near(&got.sum, &sums, 2e-4);
        for (place, byte) in got.bytes.iter().enumerate() {
            let [step, low] = [got.rows[place / HIDDEN * 2], got.rows[place / HIDDEN * 2 + 1]];
            let want = got.state[place] * factors[place % HIDDEN];
            let value = f32::from(*byte) * step + low;
            prop_assert!((value - want).abs() <= step * 0.501, "{place}: {value} is not {want}");
        }
    }

    #[test]
    fn a_row_of_a_norm_depends_on_its_own_row_alone(count in 2_usize..20, row in 0_usize..19, seed in 0_u64..1_000) {
        let row = row % count;
        let product = Integer::new(seed, count, HIDDEN);
        let residual = noise(seed + 10, count * HIDDEN);
        let (norm, _) = norm(seed + 20);
        let among = run_norm(&norm, (product.product(), 0), &residual);
        let of_row = &residual[row * HIDDEN..(row + 1) * HIDDEN];
        for alone in [
            run_norm(&norm, (product.part(row..row + 1), 0), of_row),
            run_norm(&norm, (product.product(), row), of_row),
        ] {
            let place = row * HIDDEN..(row + 1) * HIDDEN;
            prop_assert_eq!(&among.state[place.clone()], &*alone.state);
            prop_assert_eq!(&among.sum[place.clone()], &*alone.sum);
            prop_assert_eq!(&among.bytes[place], &*alone.bytes);
            prop_assert_eq!(&among.rows[2 * row..2 * row + 2], &*alone.rows);
        }
    }

    #[test]
    fn gelu_is_the_formula_in_both_forms(count in 1_usize..6, seed in 0_u64..1_000) {
        let product = Integer::new(seed, count, HIDDEN);
        let mut single = vec![0.0; count * HIDDEN];
        gelu(Processor::detect(), (product.product(), 0), RowsOutput::Single(&mut single));
        let want: Vec<f64> = product.values.iter().map(|&value| exact_gelu(value)).collect();
        assert_near(&single, &want, 1e-5);
        let (mut bytes, mut rows) = (vec![0; count * HIDDEN], vec![0.0; 2 * count]);
        let out = QuantisedRows::new(&mut bytes, &mut rows, HIDDEN).unwrap();
        gelu(Processor::detect(), (product.product(), 0), RowsOutput::Quantised(out));
        for (place, (byte, want)) in bytes.iter().zip(&single).enumerate() {
            let [step, low] = [rows[place / HIDDEN * 2], rows[place / HIDDEN * 2 + 1]];
            prop_assert!((f32::from(*byte) * step + low - want).abs() <= step * 0.501);
        }
    }
}

#[test]
fn a_product_in_single_precision_is_read_with_its_bias() {
    let linear = Linear::single(&noise(1, HIDDEN)).unwrap();
    let values = noise(2, 3 * HIDDEN);
    let product = SingleProduct::new(&linear, &values).unwrap();
    let mut out = vec![0.0; 2 * HIDDEN];
    gelu(Processor::detect(), (Product::Single(product), 1), RowsOutput::Single(&mut out));
    let bias = noise(1, HIDDEN);
    let sum = values[HIDDEN..].iter().zip(bias.iter().cycle()).map(|(a, b)| f64::from(a + b));
    assert_near(&out, &sum.map(exact_gelu).collect::<Vec<_>>(), 1e-5);
}

#[test]
fn a_row_without_steps_stays_what_it_is() {
    let linear = Linear::single(&[0.25; LANES]).unwrap();
    let product = SingleProduct::new(&linear, &[0.5; LANES]).unwrap();
    let (mut bytes, mut rows) = ([9; LANES], [0.0; 2]);
    let out = QuantisedRows::new(&mut bytes, &mut rows, LANES).unwrap();
    gelu(Processor::detect(), (Product::Single(product), 0), RowsOutput::Quantised(out));
    assert_eq!((bytes, rows[0]), ([0; LANES], 0.0));
    assert!((f64::from(rows[1]) - exact_gelu(0.75)).abs() < 1e-6);
}

#[test]
fn a_mean_is_that_of_its_own_text() {
    let states: Vec<f32> = (0..6).flat_map(|row| [row as f32; LANES]).collect();
    let mut means = [0.0; 3 * LANES];
    mean(Processor::detect(), &states, &[1, 3, 2], LANES, &mut means);
    assert_eq!(means, [[0.0; LANES], [2.0; LANES], [4.5; LANES]].concat()[..]);
}

#[test]
fn blocks_of_four_bits_are_unpacked_low_halves_first() {
    let one_half = [0x00, 0x38];
    let row = |low: u8, high: u8| [&one_half[..], &[low | high << 4; LANES]].concat();
    let table = [row(8, 8), row(9, 15)].concat();
    assert_eq!(table.len(), 2 * PACKED_BLOCK_BYTES);
    let mut rows = [0.0; 4 * LANES];
    unpack(Processor::detect(), &table, &[1, 0], 2 * LANES, &mut rows).unwrap();
    assert_eq!(rows, [[0.5; LANES], [3.5; LANES], [0.0; LANES], [0.0; LANES]].concat()[..]);
    for missing in [2, -1, i64::MAX] {
        assert!(unpack(Processor::detect(), &table, &[missing], 2 * LANES, &mut rows[..2 * LANES]).is_err());
    }
    assert!(unpack(Processor::detect(), &table, &[0], 2 * LANES, &mut rows).is_err());
}

#[test]
fn sizes_that_do_not_fit_are_errors() {
    assert!(Linear::single(&[0.0; LANES + 1]).is_err());
    assert!(Linear::single(&[]).is_err());
    assert!(Linear::integer(&[0.0; LANES], &[0.0; LANES], &[0.0; 2 * LANES]).is_err());
    let linear = Linear::integer(&[0.0; LANES], &[0.0; LANES], &[0.0; LANES]).unwrap();
    assert!(SingleProduct::new(&linear, &[0.0; LANES + 1]).is_err());
    assert!(IntegerProduct::new(&linear, &[0; LANES], &[0.0; 4]).is_err());
    let single = Linear::single(&[0.0; LANES]).unwrap();
    assert!(IntegerProduct::new(&single, &[0; LANES], &[0.0; 2]).is_err());
    assert!(AddNorm::new(&[0.0; LANES], &[0.0; 2 * LANES], 0.0).is_err());
    let norm = AddNorm::new(&[0.0; LANES], &[0.0; LANES], 0.0).unwrap();
    assert!(norm.clone().with_factors(&[0.0; 1]).is_err());
    let outliers =
        Outliers::new(&[0.0; 2 * LANES * LANES], &[0.0; LANES], &[0.0; 2 * LANES * LANES]).unwrap();
    assert!(norm.with_outliers(outliers).is_err());
    assert!(Outliers::new(&[0.0; LANES], &[0.0; LANES], &[0.0; LANES]).is_err());
    assert!(Attention::new(Processor::detect(), 2, LANES).is_err());
    assert!(QuantisedRows::new(&mut [0; LANES], &mut [0.0; 1], LANES).is_err());
    let message = Linear::single(&[0.0; 5]).unwrap_err().to_string();
    assert!(message.contains("5 values"), "{message}");
}
