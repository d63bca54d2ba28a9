//! A layer in each of its precisions.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use embed_kernels::{
    AddNorm, Executor, Instructions, Kind, LANES, Layer, LayerParts, LayerWeights, Linear, Outliers,
    Processor, Serial, Weights, pack_integer, pack_single, pack_words,
};
use proptest::prelude::*;

use crate::exact;

const HEADS: usize = 3;
const WIDTH: usize = 32;
const HIDDEN: usize = HEADS * WIDTH;
/// The middle of the feed-forward part: no multiple of what products pad their inputs to.
const MIDDLE: usize = 4 * HIDDEN - LANES;
const EPSILON: f32 = 1e-6;

/// Weights `[inputs, outputs]` and a bias; in 8 bits with what the bytes stand for, in 16 with what was rounded.
struct Dense {
    linear: Linear,
    bias: Vec<f32>,
    /// What the weights stand for, divided by the factors.
    values: Vec<f32>,
    single: Vec<f32>,
    words: Vec<i16>,
    integer: Vec<i8>,
}

impl Dense {
    /// `factors` are those that the inputs are multiplied by.
    fn new(seed: u64, inputs: usize, outputs: usize, factors: &[f32], kind: Kind) -> Self {
        let strength = 0.5 / (inputs as f32).sqrt();
        let (weights, bias) = (exact::noise(seed, inputs * outputs), exact::noise(seed + 1, outputs));
        let (mut single, mut words, mut integer) = (Vec::new(), Vec::new(), Vec::new());
        if kind != Kind::Integer {
            let values: Vec<f32> = weights.iter().map(|weight| weight * strength).collect();
            let linear = if kind == Kind::Single {
                single = pack_single(&values, outputs).unwrap();
                Linear::single(&bias).unwrap()
            } else {
                let packed = pack_words(&values, outputs).unwrap();
                words = packed.packed;
                Linear::words(&bias, &packed.scales).unwrap()
            };
            return Self { linear, bias, values, single, words, integer };
        }
        let bytes: Vec<i8> = weights.iter().map(|weight| (weight * 63.0) as i8).collect();
        let scales: Vec<f32> = exact::noise(seed + 2, outputs)
            .iter()
            .map(|scale| strength * (scale.abs() + 0.1) / 63.0)
            .collect();
        let mut sums = vec![0.0; outputs];
        let mut values = Vec::new();
        for (input, row) in bytes.chunks_exact(outputs).enumerate() {
            for ((sum, byte), scale) in sums.iter_mut().zip(row).zip(&scales) {
                *sum += f32::from(*byte) * scale;
                values.push(f32::from(*byte) * scale * factors.get(input).unwrap_or(&1.0));
            }
        }
        let linear = Linear::integer(&bias, &scales, &sums).unwrap();
        integer = pack_integer(&bytes, outputs).unwrap();
        Self { linear, bias, values, single, words, integer }
    }

    fn weights(&self) -> Weights<'_> {
        match self.linear.kind() {
            Kind::Single => Weights::Single(&self.single),
            Kind::Words => Weights::Words(&self.words),
            Kind::Integer => Weights::Integer(&self.integer),
        }
    }

    fn exact(&self, rows: &[f64], factors: &[f32]) -> Vec<f64> {
        if self.linear.kind() == Kind::Integer {
            let width = self.values.len() / self.bias.len();
            return exact::linear(&exact::quantised(rows, width, factors), &self.values, &self.bias);
        }
        exact::linear(rows, &self.values, &self.bias)
    }
}

/// A layer and what it is made of.
struct Sample {
    layer: Layer,
    dense: [Dense; 4],
    norms: [Vec<f32>; 4],
    /// Of the input of attention and of the feed-forward part.
    factors: [Vec<f32>; 2],
    outliers: Option<[Vec<f32>; 3]>,
}

impl Sample {
    fn new(seed: u64, kind: Kind) -> Self {
        Self::by(Processor::detect(), seed, kind)
    }

    fn by(processor: Processor, seed: u64, kind: Kind) -> Self {
        let factors = |seed| -> Vec<f32> {
            let powers = exact::noise(seed, HIDDEN);
            if kind == Kind::Integer {
                powers.iter().map(|power| power.round().exp2()).collect()
            } else {
                Vec::new()
            }
        };
        let factors = [factors(seed + 50), factors(seed + 51)];
        let dense = [
            Dense::new(seed, HIDDEN, 3 * HIDDEN, &factors[0], kind),
            Dense::new(seed + 10, HIDDEN, HIDDEN, &[], kind),
            Dense::new(seed + 20, HIDDEN, MIDDLE, &factors[1], kind),
            Dense::new(seed + 30, MIDDLE, HIDDEN, &[], kind),
        ];
        let norms = [40, 41, 42, 43].map(|place| exact::noise(seed + place, HIDDEN));
        let outliers = (kind == Kind::Integer).then(|| {
            let weights =
                |seed| exact::noise(seed, LANES * HIDDEN).iter().map(|weight| weight / 20.0).collect();
            [weights(seed + 60), exact::noise(seed + 61, LANES), weights(seed + 62)]
        });
        let parts = LayerParts {
            heads: HEADS,
            joint: dense[0].linear.clone(),
            output: dense[1].linear.clone(),
            wide: dense[2].linear.clone(),
            narrow: dense[3].linear.clone(),
            attention_norm: AddNorm::new(&norms[0], &norms[1], EPSILON).unwrap(),
            output_norm: AddNorm::new(&norms[2], &norms[3], EPSILON).unwrap(),
            attention_factors: factors[0].clone(),
            feed_forward_factors: factors[1].clone(),
            outliers: outliers.as_ref().map(|[into, bias, out]| Outliers::new(into, bias, out).unwrap()),
        };
        Self { layer: Layer::new(processor, parts).unwrap(), dense, norms, factors, outliers }
    }

    fn run(&self, executor: &impl Executor, lengths: &[usize], state: &[f32]) -> Vec<f32> {
        let [joint, output, wide, narrow] = &self.dense;
        let weights = LayerWeights {
            joint: joint.weights(),
            output: output.weights(),
            wide: wide.weights(),
            narrow: narrow.weights(),
        };
        let mut out = vec![f32::NAN; state.len()];
        self.layer.run(executor, &weights, (lengths, state), &mut out).unwrap();
        out
    }

    /// The same for one text.
    fn exact(&self, state: &[f32]) -> Vec<f64> {
        let state: Vec<f64> = state.iter().map(|&value| value.into()).collect();
        let [joint, output, wide, narrow] = &self.dense;
        let (words, mut parts) = (joint.linear.kind() != Kind::Single, joint.exact(&state, &self.factors[0]));
        if words {
            parts = exact::rounded_joint(&parts, HEADS, WIDTH);
        }
        let contexts = exact::attention(&parts, HEADS, WIDTH, words);
        let [scale, bias, last_scale, last_bias] = &self.norms;
        let state = exact::norm(&output.exact(&contexts, &[]), &state, scale, bias, EPSILON.into());
        let middle: Vec<f64> = wide.exact(&state, &self.factors[1]).into_iter().map(exact::gelu).collect();
        let mut sum = state.clone();
        if let Some([into, bias, out]) = &self.outliers {
            for (state, sum) in state.chunks(HIDDEN).zip(sum.chunks_mut(HIDDEN)) {
                for (channel, (into, out)) in into.chunks(HIDDEN).zip(out.chunks(HIDDEN)).enumerate() {
                    let dot: f64 = state.iter().zip(into).map(|(a, b)| a * f64::from(*b)).sum();
                    let middle = exact::gelu(dot + f64::from(bias[channel]));
                    sum.iter_mut().zip(out).for_each(|(sum, weight)| *sum += middle * f64::from(*weight));
                }
            }
        }
        exact::norm(&narrow.exact(&middle, &[]), &sum, last_scale, last_bias, EPSILON.into())
    }
}

/// Threads that are started for each stage.
struct Threads(usize);

impl Executor for Threads {
    fn threads(&self) -> usize {
        self.0
    }

    fn each(&self, count: usize, work: &(dyn Fn(usize) + Sync)) {
        let next = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..self.0 {
                scope.spawn(|| {
                    while let Some(piece) =
                        Some(next.fetch_add(1, Ordering::Relaxed)).filter(|&piece| piece < count)
                    {
                        work(piece);
                    }
                });
            }
        });
    }
}

fn cosine(got: &[f32], want: &[f64]) -> f64 {
    let dot: f64 = got.iter().zip(want).map(|(a, b)| f64::from(*a) * b).sum();
    let [a, b] = [got.iter().map(|a| f64::from(*a).powi(2)).sum::<f64>(), want.iter().map(|b| b * b).sum()];
    dot / (a * b).sqrt()
}

const KINDS: [Kind; 3] = [Kind::Single, Kind::Words, Kind::Integer];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(24) })]

    #[test]
    fn a_layer_is_the_formula(tokens in 1_usize..70, seed in 0_u64..1_000) {
        let state = exact::noise(seed + 100, tokens * HIDDEN);
        for kind in KINDS {
            let sample = Sample::new(seed, kind);
            let (got, want) = (sample.run(&Serial, &[tokens], &state), sample.exact(&state));
            if kind == Kind::Single {
                exact::assert_near(&got, &want, 5e-4);
            }
            for (row, (got, want)) in got.chunks(HIDDEN).zip(want.chunks(HIDDEN)).enumerate() {
                let cosine = cosine(got, want);
                // A number next to the middle of two bytes may become the other one, and so differ by a whole step.
                let least = if kind == Kind::Integer { 0.9995 } else { 0.999_999 };
                prop_assert!(cosine > least, "{kind:?}, row {row}: {cosine}");
            }
        }
    }

    #[test]
    fn a_text_is_the_same_among_others_and_on_several_threads(
        lengths in prop::collection::vec(1_usize..130, 1..6),
        threads in 2_usize..4,
        instructions in prop::sample::select(Instructions::available()),
        seed in 0_u64..1_000,
    ) {
        let processor = Processor::with(instructions).unwrap();
        let tokens: usize = lengths.iter().sum();
        let state = exact::noise(seed + 100, tokens * HIDDEN);
        for kind in KINDS {
            let sample = Sample::by(processor, seed, kind);
            let together = sample.run(&Serial, &lengths, &state);
            prop_assert_eq!(&together, &sample.run(&Threads(threads), &lengths, &state));
            let (mut states, mut outs) = (&state[..], &together[..]);
            for &tokens in &lengths {
                let (state, out);
                (state, states) = states.split_at(tokens * HIDDEN);
                (out, outs) = outs.split_at(tokens * HIDDEN);
                prop_assert_eq!(out, &*sample.run(&Serial, &[tokens], state));
                prop_assert_eq!(out, &*sample.run(&Threads(threads), &[tokens], state));
            }
        }
    }
}

#[test]
fn all_instructions_of_this_processor_give_the_same_to_the_bit() {
    let lengths = [37, 5, 60];
    let state = exact::noise(3, lengths.iter().sum::<usize>() * HIDDEN);
    for kind in KINDS {
        let run = |instructions| {
            let processor = Processor::with(instructions).unwrap();
            assert_eq!(processor.instructions(), instructions);
            Sample::by(processor, 9, kind).run(&Serial, &lengths, &state)
        };
        let want = run(Instructions::Portable);
        for instructions in Instructions::available() {
            assert_eq!(run(instructions), want, "{kind:?} by {instructions}");
        }
    }
}

#[test]
fn equal_values_have_no_steps_and_stay_what_they_are() {
    let sample = Sample::new(7, Kind::Integer);
    let out = sample.run(&Serial, &[3], &[0.25; 3 * HIDDEN]);
    assert!(out.iter().all(|value| value.is_finite()));
    assert_eq!(out[..HIDDEN], out[HIDDEN..2 * HIDDEN]);
}

#[test]
fn what_does_not_fit_is_an_error() {
    let sample = Sample::new(1, Kind::Integer);
    let [joint, output, wide, narrow] = &sample.dense;
    let weights = LayerWeights {
        joint: joint.weights(),
        output: output.weights(),
        wide: wide.weights(),
        narrow: narrow.weights(),
    };
    let run = |weights: &LayerWeights<'_>, lengths: &[usize], state: &[f32]| {
        sample.layer.run(&Serial, weights, (lengths, state), &mut vec![0.0; state.len()])
    };
    let state = [0.5; 2 * HIDDEN];
    run(&weights, &[2], &state).unwrap();
    run(&weights, &[], &[]).unwrap();
    for lengths in [&[1][..], &[3], &[2, 0], &[]] {
        assert!(run(&weights, lengths, &state).is_err(), "{lengths:?}");
    }
    let single = Sample::new(1, Kind::Single);
    let other = LayerWeights { joint: single.dense[0].weights(), ..weights };
    assert!(run(&other, &[2], &state).is_err());
    let other = LayerWeights { joint: output.weights(), ..weights };
    assert!(run(&other, &[2], &state).is_err());
}
