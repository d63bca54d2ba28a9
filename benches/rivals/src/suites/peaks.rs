//! What the processor can do at all: loops of its instructions on every core, without memory, in tokens of the model.

use std::thread;
use std::time::Instant;

use anyhow::Result;
use embed_encoder::available_threads;
use embed_gemm::Instructions;

use crate::bench::Bench;
use crate::peak::{self, Peak};
use crate::report::{Figure, Party, Report};

pub(super) const INT8_PEAK: &str = "int8 peak of the processor";

/// Runs of a loop in one measurement, some 30 ms.
const RUNS: u64 = 1000;
/// Multiplications and additions of a token in the linear layers of multilingual-e5-small: queries, keys and values; the
/// output of attention; both halves of the feed-forward part. Attention's own are not in it, since they grow with the text.
const OPERATIONS: u64 = 2 * 12 * (384 * 3 * 384 + 384 * 384 + 384 * 1536 + 1536 * 384);

/// A limit for 8-bit products and one for single precision, measured so many times.
pub(super) fn peaks(bench: &Bench, report: &mut Report, suite: &str, rounds: usize) -> Result<Vec<Figure>> {
    let eight_bits = Instructions::available().into_iter().find_map(peak::of);
    let mut figures = Vec::new();
    for (name, peak) in [(INT8_PEAK, eight_bits), ("f32 peak of the processor", peak::single())] {
        let Some(peak) = peak else {
            report.skipped(suite, name, "there is no loop for this kind of processor")?;
            continue;
        };
        let rounds = (0..rounds).map(|_| bench.undisturbed(|| Ok(tokens_a_second(peak))));
        let mut figure = Figure::new(name, Party::Limit, rounds.collect::<Result<_>>()?);
        figure.note = format!("{}, {} cores, no memory", peak.name, available_threads());
        figures.push(figure);
    }
    Ok(figures)
}

/// Of all cores at once.
fn tokens_a_second(peak: Peak) -> f64 {
    let core = || {
        let began = Instant::now();
        (0..RUNS).for_each(|_| (peak.run)());
        (RUNS * peak.operations) as f64 / began.elapsed().as_secs_f64()
    };
    let operations: f64 = thread::scope(|scope| {
        let cores: Vec<_> = (0..available_threads().get()).map(|_| scope.spawn(core)).collect();
        cores.into_iter().filter_map(|core| core.join().ok()).sum()
    });
    operations / OPERATIONS as f64
}
