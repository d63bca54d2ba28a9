//! Each kernel over as many rows as a run has, in the sizes of multilingual-e5-small.
use std::hint::black_box;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use embed_kernels::{AddNorm, Apart, Attention, RowsOutput, HeadScratch, IntegerProduct, Linear, NormOutput, Processor, Product, QuantisedRows, gelu};

fn kernels(c: &mut Criterion) {
    let p = Processor::detect();
    let mut group = c.benchmark_group("kernels");
    let (t, h, ff) = (64usize, 384usize, 1520usize);
    group.throughput(Throughput::Elements(t as u64));
    let lin = |w: usize| Linear::integer(&vec![0.1; w], &vec![0.001; w], &vec![0.01; w]).unwrap();
    let acc: Vec<i32> = (0..t * ff).map(|i| (i as i32 * 7919) % 4001 - 2000).collect();
    let rows: Vec<f32> = (0..2 * t).map(|i| if i % 2 == 0 { 0.5 } else { -1.0 }).collect();
    let mut bytes = vec![0u8; t * ff];
    let mut scales = vec![0f32; 2 * t];
    let l = lin(ff);
    group.bench_function("gelu", |b| b.iter(|| {
        let prod = Product::Integer(IntegerProduct::new(&l, &acc, &rows).unwrap());
        gelu(p, (prod, 0), RowsOutput::Quantised(QuantisedRows::new(&mut bytes, &mut scales, ff).unwrap()));
        black_box(bytes[5]);
    }));
    let norm = AddNorm::new(&vec![1.0; h], &vec![0.0; h], 1e-12).unwrap().with_factors(&vec![0.5; h]).unwrap();
    let apart = norm.clone().with_apart(Apart::new(&vec![0.01; h * 16], &[0.1; 16], &vec![0.01; h * 16]).unwrap()).unwrap();
    let l = lin(h);
    let acc_h = &acc[..t * h];
    let residual: Vec<f32> = (0..t * h).map(|i| (i % 17) as f32 / 17.0).collect();
    let (mut state, mut sum) = (vec![0f32; t * h], vec![0f32; t * h]);
    let mut bytes_h = vec![0u8; t * h];
    for (name, norm) in [("norm", &norm), ("norm and apart", &apart)] {
        group.bench_function(name, |b| b.iter(|| {
            let prod = Product::Integer(IntegerProduct::new(&l, acc_h, &rows).unwrap());
            norm.run(p, (prod, 0), &residual, NormOutput { state: &mut state, sum: &mut sum, quantised: Some(QuantisedRows::new(&mut bytes_h, &mut scales, h).unwrap()) });
            black_box(state[5]);
        }));
    }
    for t in [12usize, 64, 512] {
        let l = lin(3 * h);
        let acc: Vec<i32> = (0..t * 3 * h).map(|i| (i as i32 * 7919) % 4001 - 2000).collect();
        let rows: Vec<f32> = (0..2 * t).map(|i| if i % 2 == 0 { 0.5 } else { -1.0 }).collect();
        let a = Attention::new(p, 12, 32).unwrap();
        let mut scratch = HeadScratch::default();
        let mut ctx = vec![0f32; t * h];
        let mut bytes_h = vec![0u8; t * h];
        let mut scales = vec![0f32; 2 * t];
        group.throughput(Throughput::Elements(t as u64));
        group.bench_function(format!("attention {t}"), |b| b.iter(|| {
            let prod = Product::Integer(IntegerProduct::new(&l, &acc, &rows).unwrap());
            a.heads((prod, 0), 0..12, &mut scratch, &mut ctx);
            a.rows(&ctx, RowsOutput::Quantised(QuantisedRows::new(&mut bytes_h, &mut scales, h).unwrap()));
            black_box(bytes_h[5]);
        }));
    }
}
criterion_group!(benches, kernels);
criterion_main!(benches);
