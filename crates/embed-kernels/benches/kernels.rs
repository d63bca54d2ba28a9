//! Each kernel after an 8-bit product, in the sizes of multilingual-e5-small: how many tokens a second one core takes
//! through it. A token goes through each of them twelve times.

#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use embed_kernels::{
    AddNorm, Attention, HeadScratch, IntegerProduct, LANES, Linear, NormOutput, Outliers, Processor, Product,
    QuantisedRows, RowsOutput, gelu,
};

const HIDDEN: usize = 384;
const HEADS: usize = 12;
/// The middle of the feed-forward part without the outlier channels.
const MIDDLE: usize = 4 * HIDDEN - LANES;

/// An 8-bit product of so many rows.
struct Sums {
    linear: Linear,
    values: Vec<i32>,
    rows: Vec<f32>,
}

impl Sums {
    fn new(count: usize, width: usize) -> Self {
        let linear = Linear::integer(&vec![0.1; width], &vec![0.001; width], &vec![0.01; width]).unwrap();
        let values = (0..count * width).map(|place| (place * 7919 % 4001) as i32 - 2000).collect();
        Self { linear, values, rows: [0.5, -1.0].repeat(count) }
    }

    fn product(&self) -> Product<'_> {
        Product::Integer(IntegerProduct::new(&self.linear, &self.values, &self.rows).unwrap())
    }
}

/// Room for rows in 8 bits.
struct Room {
    bytes: Vec<u8>,
    rows: Vec<f32>,
}

impl Room {
    fn new(count: usize, width: usize) -> Self {
        Self { bytes: vec![0; count * width], rows: vec![0.0; 2 * count] }
    }

    fn rows(&mut self, width: usize) -> QuantisedRows<'_> {
        QuantisedRows::new(&mut self.bytes, &mut self.rows, width).unwrap()
    }

    /// Every row that was written reaches from the least byte to the largest.
    fn check(&self, width: usize) {
        for row in self.bytes.chunks(width) {
            assert_eq!((row.iter().min(), row.iter().max()), (Some(&0), Some(&127)), "a row was not written");
        }
    }
}

fn norm(outliers: bool) -> AddNorm {
    let norm = AddNorm::new(&[1.0; HIDDEN], &[0.0; HIDDEN], 1e-12).unwrap();
    let norm = norm.with_factors(&[0.5; HIDDEN]).unwrap();
    if !outliers {
        return norm;
    }
    let weights = vec![0.01; LANES * HIDDEN];
    norm.with_outliers(Outliers::new(&weights, &[0.1; LANES], &weights).unwrap()).unwrap()
}

fn kernels(c: &mut Criterion) {
    let processor = Processor::detect();
    for tokens in [12, 64, 512] {
        let mut group = c.benchmark_group(format!("e5/kernels, {tokens} tokens"));
        group.throughput(Throughput::Elements(tokens as u64));

        let (sums, mut room) = (Sums::new(tokens, 3 * HIDDEN), Room::new(tokens, HIDDEN));
        let attention = Attention::new(processor, HEADS, HIDDEN / HEADS).unwrap();
        let (mut scratch, mut contexts) = (HeadScratch::default(), vec![0.0; tokens * HIDDEN]);
        let mut attend = |room: &mut Room| {
            attention.heads((sums.product(), 0), 0..HEADS, &mut scratch, &mut contexts);
            attention.rows(&contexts, RowsOutput::Quantised(room.rows(HIDDEN)));
            black_box(&room.bytes);
        };
        attend(&mut room);
        room.check(HIDDEN);
        group.bench_function(BenchmarkId::from_parameter("attention"), |b| b.iter(|| attend(&mut room)));

        let (sums, mut room) = (Sums::new(tokens, HIDDEN), Room::new(tokens, HIDDEN));
        let residual: Vec<f32> = (0..tokens * HIDDEN).map(|place| (place % 17) as f32 / 17.0).collect();
        let (mut state, mut sum) = (vec![0.0; tokens * HIDDEN], vec![0.0; tokens * HIDDEN]);
        for (name, norm) in [("norm", norm(false)), ("norm, outlier channels", norm(true))] {
            let mut run = |room: &mut Room| {
                let quantised = Some(room.rows(HIDDEN));
                let out = NormOutput { state: &mut state, sum: &mut sum, quantised };
                norm.run(processor, (sums.product(), 0), &residual, out);
                black_box(&room.bytes);
            };
            run(&mut room);
            room.check(HIDDEN);
            group.bench_function(BenchmarkId::from_parameter(name), |b| b.iter(|| run(&mut room)));
        }

        let (sums, mut room) = (Sums::new(tokens, MIDDLE), Room::new(tokens, MIDDLE));
        let run = |room: &mut Room| {
            gelu(processor, (sums.product(), 0), RowsOutput::Quantised(room.rows(MIDDLE)));
            black_box(&room.bytes);
        };
        run(&mut room);
        room.check(MIDDLE);
        group.bench_function(BenchmarkId::from_parameter("gelu"), |b| b.iter(|| run(&mut room)));
        group.finish();
    }
}

criterion_group!(benches, kernels);
criterion_main!(benches);
