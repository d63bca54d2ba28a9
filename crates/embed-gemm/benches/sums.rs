//! Products in the sizes of multilingual-e5-small, by each path of this machine, in products and additions a second of one core:
//! beside them the peak of the instructions, which is a loop of them over registers that reads no memory.

#![cfg_attr(target_arch = "x86_64", expect(unsafe_code, reason = "the peak is a loop of instructions"))]

#[cfg(target_arch = "x86_64")]
use std::arch::asm;
use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use embed_gemm::{COLUMNS, Gemm, Instructions, pack};

/// Turns of a loop in one measurement.
const TURNS: u64 = 10_000;

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

#[cfg(target_arch = "x86_64")]
fn peaks(c: &mut Criterion) {
    let mut group = c.benchmark_group("e5/gemm, peak");
    for gemm in paths() {
        // How much a turn of the loop does, and the loop.
        let (work, run): (u64, fn()) = match gemm.instructions() {
            Instructions::Avx2 => (12 * 32, avx2),
            Instructions::AvxVnni => (12 * 32, avxvnni),
            Instructions::Avx512 => (24 * 64, avx512),
            Instructions::Amx => (4 * 16 * 16 * 64, amx),
            _ => continue,
        };
        group.throughput(Throughput::Elements(2 * work * TURNS));
        group.bench_function(gemm.instructions().to_string(), |b| b.iter(run));
    }
    group.finish();
}

#[cfg(not(target_arch = "x86_64"))]
fn peaks(_: &mut Criterion) {}

/// A loop of lines that change vector registers, and nothing else.
#[cfg(target_arch = "x86_64")]
macro_rules! turns {
    ($($line:literal)+) => {
        // SAFETY: `peaks` runs a loop whose path is available. It changes the registers that are listed, and no memory.
        unsafe {
            asm!(
                "2:",
                $($line,)+
                "dec {turns}",
                "jnz 2b",
                turns = inout(reg) TURNS => _,
                out("zmm0") _, out("zmm1") _, out("zmm2") _, out("zmm3") _, out("zmm4") _, out("zmm5") _, out("zmm6") _,
                out("zmm7") _, out("zmm8") _, out("zmm9") _, out("zmm10") _, out("zmm11") _, out("zmm12") _,
                out("zmm13") _, out("zmm14") _, out("zmm15") _, out("zmm16") _, out("zmm17") _, out("zmm18") _,
                out("zmm19") _, out("zmm20") _, out("zmm21") _, out("zmm22") _, out("zmm23") _,
                options(nostack, nomem),
            );
        }
    };
}

#[cfg(target_arch = "x86_64")]
fn avx2() {
    turns!(
        ".irp sums, ymm0, ymm1, ymm2, ymm3, ymm4, ymm5, ymm6, ymm7, ymm8, ymm9, ymm10, ymm11"
        "vpmaddubsw ymm12, ymm13, ymm14"
        "vpmaddwd ymm12, ymm12, ymm15"
        "vpaddd \\sums, \\sums, ymm12"
        ".endr"
    );
}

#[cfg(target_arch = "x86_64")]
fn avxvnni() {
    turns!(
        ".irp sums, ymm0, ymm1, ymm2, ymm3, ymm4, ymm5, ymm6, ymm7, ymm8, ymm9, ymm10, ymm11"
        "{{vex}} vpdpbusd \\sums, ymm14, ymm15"
        ".endr"
    );
}

#[cfg(target_arch = "x86_64")]
fn avx512() {
    turns!(
        ".irp sums, zmm0, zmm1, zmm2, zmm3, zmm4, zmm5, zmm6, zmm7, zmm8, zmm9, zmm10, zmm11, zmm12, zmm13, zmm14, zmm15, zmm16, zmm17, zmm18, zmm19, zmm20, zmm21, zmm22, zmm23"
        "vpdpbusd \\sums, zmm30, zmm31"
        ".endr"
    );
}

#[cfg(target_arch = "x86_64")]
fn amx() {
    /// Palette 1: eight tiles of 16 rows of 64 bytes.
    #[repr(align(64))]
    struct Configuration([u8; 64]);
    let mut configuration = Configuration([0; 64]);
    configuration.0[0] = 1;
    for tile in 0..8 {
        configuration.0[16 + 2 * tile] = 64;
        configuration.0[48 + tile] = 16;
    }
    // SAFETY: `peaks` runs this where AMX is available. It reads the 64 bytes of the configuration, changes tiles, and releases
    // them.
    unsafe {
        asm!(
            "ldtilecfg [{configuration}]",
            "2:",
            "tdpbusd tmm0, tmm4, tmm6",
            "tdpbusd tmm1, tmm4, tmm7",
            "tdpbusd tmm2, tmm5, tmm6",
            "tdpbusd tmm3, tmm5, tmm7",
            "dec {turns}",
            "jnz 2b",
            "tilerelease",
            configuration = in(reg) &raw const configuration,
            turns = inout(reg) TURNS => _,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack, readonly),
        );
    }
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
