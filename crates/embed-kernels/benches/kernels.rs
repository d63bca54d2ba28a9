//! A layer of multilingual-e5-small: how many tokens a second one core takes through it. A token goes through twelve.

#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use embed_kernels::{
    AddNorm, Kind, LANES, Layer, LayerParts, LayerWeights, Linear, Outliers, Processor, Serial, Weights,
    pack_integer, pack_single, pack_words,
};

const HIDDEN: usize = 384;
const HEADS: usize = 12;
/// The middle of the feed-forward part without the outlier channels.
const MIDDLE: usize = 4 * HIDDEN - LANES;
/// Inputs and outputs of the products.
const SIZES: [[usize; 2]; 4] = [[HIDDEN, 3 * HIDDEN], [HIDDEN, HIDDEN], [HIDDEN, MIDDLE], [MIDDLE, HIDDEN]];

/// Numbers between −1 and 1.
fn numbers(count: usize) -> Vec<f32> {
    (0..count).map(|place| (place * 7919 % 4001) as f32 / 2000.5 - 1.0).collect()
}

fn layer(kind: Kind) -> Layer {
    let integer = kind == Kind::Integer;
    let linear = |size: usize| {
        let [_, width] = SIZES[size];
        let constants = vec![0.001; width];
        match kind {
            Kind::Single => Linear::single(&constants),
            Kind::Words => Linear::words(&constants, &constants),
            Kind::Integer => Linear::integer(&constants, &constants, &constants),
        }
    };
    let norm = AddNorm::new(&[1.0; HIDDEN], &[0.0; HIDDEN], 1e-12).unwrap();
    let weights = vec![0.01; LANES * HIDDEN];
    let parts = LayerParts {
        heads: HEADS,
        joint: linear(0).unwrap(),
        output: linear(1).unwrap(),
        wide: linear(2).unwrap(),
        narrow: linear(3).unwrap(),
        attention_norm: norm.clone(),
        output_norm: norm,
        attention_factors: if integer { vec![0.5; HIDDEN] } else { Vec::new() },
        feed_forward_factors: if integer { vec![0.5; HIDDEN] } else { Vec::new() },
        outliers: integer.then(|| Outliers::new(&weights, &[0.1; LANES], &weights).unwrap()),
    };
    Layer::new(Processor::detect(), parts).unwrap()
}

fn kernels(c: &mut Criterion) {
    let values = SIZES.map(|[inputs, outputs]| numbers(inputs * outputs));
    let single = [0, 1, 2, 3].map(|size| pack_single(&values[size], SIZES[size][1]).unwrap());
    let words = [0, 1, 2, 3].map(|size| pack_words(&values[size], SIZES[size][1]).unwrap().packed);
    let integer = [0, 1, 2, 3].map(|size| {
        let bytes: Vec<i8> = values[size].iter().map(|value| (value * 127.0) as i8).collect();
        pack_integer(&bytes, SIZES[size][1]).unwrap()
    });
    let [joint, output, wide, narrow] = single.each_ref().map(|weights| Weights::Single(weights));
    let single = LayerWeights { joint, output, wide, narrow };
    let [joint, output, wide, narrow] = words.each_ref().map(|weights| Weights::Words(weights));
    let words = LayerWeights { joint, output, wide, narrow };
    let [joint, output, wide, narrow] = integer.each_ref().map(|weights| Weights::Integer(weights));
    let integer = LayerWeights { joint, output, wide, narrow };
    for (name, texts) in
        [("10 tokens", vec![10]), ("5 times 40 tokens", vec![40; 5]), ("512 tokens", vec![512])]
    {
        let mut group = c.benchmark_group(format!("e5/layer, {name}"));
        let tokens: usize = texts.iter().sum();
        group.throughput(Throughput::Elements(tokens as u64));
        let state = numbers(tokens * HIDDEN);
        let mut out = vec![0.0; state.len()];
        for (name, kind, weights) in [
            ("int8", Kind::Integer, &integer),
            ("mixed", Kind::Words, &words),
            ("f32", Kind::Single, &single),
        ] {
            let layer = layer(kind);
            group.bench_function(BenchmarkId::from_parameter(name), |b| {
                b.iter(|| layer.run(&Serial, weights, (&texts, &state), black_box(&mut out)).unwrap());
            });
            assert!(out.iter().all(|value| value.is_finite()) && out[0] != 0.0, "a row was not written");
        }
        group.finish();
    }
}

criterion_group!(benches, kernels);
criterion_main!(benches);
