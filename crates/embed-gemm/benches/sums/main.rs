//! Products in the sizes of multilingual-e5-small, by each path of this machine, in products and additions a second of one core:
//! beside them the peak of the instructions, which is a loop of them over registers that reads no memory.

mod peak;

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use embed_gemm::{COLUMNS, Gemm, Instructions, pack};

/// Panels at a time, as a caller does whose epilogue reads the sums from L1.
const BLOCK: usize = 12;

/// The paths of this machine.
fn paths() -> impl Iterator<Item = Gemm> {
    Instructions::available().into_iter().filter_map(|instructions| Gemm::with(instructions).ok())
}

fn product((&byte, &weight): (&u8, &i8)) -> i32 {
    i32::from(byte) * i32::from(weight)
}

fn products(c: &mut Criterion) {
    for (inputs, outputs) in [(384, 1152), (384, 1536), (1536, 384)] {
        let mut group = c.benchmark_group(format!("e5/gemm, {inputs}x{outputs}"));
        let weights: Vec<i8> = (0..inputs * outputs).map(|at| (at * 7919 % 255) as u8 as i8).collect();
        let weights: Vec<i8> = weights.into_iter().map(|weight| weight.max(-127)).collect();
        let panels = pack(&weights, outputs);
        for gemm in paths() {
            for count in [1, 12, 48, 96] {
                let rows: Vec<u8> = (0..count * inputs).map(|at| (at * 104_729 % 128) as u8).collect();
                let mut sums = vec![0; count * COLUMNS * BLOCK];
                gemm.sums(&rows, inputs, &panels[..COLUMNS * inputs], &mut sums[..count * COLUMNS]);
                let first: i32 = rows.iter().zip(weights.iter().step_by(outputs)).map(product).sum();
                assert_eq!(sums[0], first, "{gemm:?} has another product");
                group.throughput(Throughput::Elements(2 * (count * inputs * outputs) as u64));
                group.bench_function(BenchmarkId::new(gemm.instructions().to_string(), count), |b| {
                    b.iter(|| {
                        for block in panels.chunks(BLOCK * COLUMNS * inputs) {
                            let sums = &mut sums[..count * (block.len() / inputs)];
                            gemm.sums(black_box(&rows), inputs, block, sums);
                            black_box(sums);
                        }
                    });
                });
            }
        }
        group.finish();
    }
}

fn peaks(c: &mut Criterion) {
    let mut group = c.benchmark_group("e5/gemm, peak");
    for peak in paths().filter_map(|gemm| peak::of(gemm.instructions())).chain(peak::single()) {
        group.throughput(Throughput::Elements(peak.operations));
        group.bench_function(peak.name, |b| b.iter(peak.run));
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1));
    targets = peaks, products
}
criterion_main!(benches);
