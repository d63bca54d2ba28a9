//! E5 as users of Python have it: the module `embed` beside fastembed and sentence-transformers, and beside the engine in Rust.

use anyhow::Result;
use embed_rivals_worker::Order;

use super::e5::{cosines, figure, texts, tune};
use crate::bench::Bench;
use crate::field::{Field, WarmUp};
use crate::report::{Party, Report, Target, Unit};
use crate::workloads::Workload;

const SUITE: &str = "python/paragraphs";
const OURS: &str = "embed in Python int8";
const ONE_THREAD: &str = "embed in Python int8, one thread";
const TWO_THREADS: &str = "embed in Python int8, two threads";
const ENGINE: &str = "embed-encoder int8";
const ENGINE_F32: &str = "embed-encoder f32";
const FASTEMBED: [&str; 2] = ["fastembed in Python int8, best", "fastembed in Python f32, best"];
const TRANSFORMERS: [&str; 2] = ["sentence-transformers int8, ONNX", "sentence-transformers f32, ONNX"];
const BASELINES: [&str; 3] = [FASTEMBED[0], FASTEMBED[1], OURS];

/// Mixed paragraphs.
pub(crate) fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    let mixed = bench.workloads.take(Workload::Mixed, bench.size.pick(400, 48, 2), &bench.run)?;
    let mut field = enter(bench, report)?;
    tune(bench, report, &mut field, Workload::Tuning)?;
    let cosines = cosines(bench, report, &mut field, (SUITE, &mixed), ENGINE_F32)?;
    // All have embedded these texts for the cosines.
    let runs = field.race((bench, report), (SUITE, WarmUp::Done), |_| true, &Order::Batch(texts(&mixed)))?;
    let figures = runs.iter().map(|run| {
        let mut figure = figure(run, run.seconds().map(|seconds| mixed.tokens as f64 / seconds).collect());
        if let Some((least, mean)) = cosines.get(&figure.name) {
            figure.extra.extend([("cosine_min", *least), ("cosine_mean", *mean)]);
        }
        figure.targets = promises(&figure.name);
        figure
    });
    let figures = figures.collect();
    report.suite(SUITE, Unit::higher("tokens/s"), &BASELINES, figures)
}

/// Makes ready whoever is measured, and looks for the settings that aren't known.
pub(crate) fn prepare(bench: &Bench, report: &mut Report) -> Result<()> {
    let mut field = enter(bench, report)?;
    tune(bench, report, &mut field, Workload::Tuning)
}

fn enter(bench: &Bench, report: &mut Report) -> Result<Field> {
    let mut field = Field::default();
    for (name, precision) in [(ENGINE, "int8"), (ENGINE_F32, "f32")] {
        field.enter(report, SUITE, (name, Party::Ours), bench.own_worker(&["e5", precision]))?;
    }
    let contenders = [
        (OURS, Party::Ours, "ours-int8"),
        (ONE_THREAD, Party::Ours, "ours-int8-1"),
        (TWO_THREADS, Party::Ours, "ours-int8-2"),
        (FASTEMBED[0], Party::Rival, "fastembed-int8"),
        (FASTEMBED[1], Party::Rival, "fastembed-f32"),
        (TRANSFORMERS[0], Party::Rival, "sentence_transformers-int8"),
        (TRANSFORMERS[1], Party::Rival, "sentence_transformers-f32"),
    ];
    for (name, party, worker) in contenders {
        let command = bench.libraries().and_then(|libraries| {
            let mut command = libraries.script("libraries.py");
            command.arg(worker).arg(&libraries.models).arg(bench.tokenizer()?);
            Ok(command)
        });
        field.enter(report, SUITE, (name, party), command)?;
    }
    Ok(field)
}

/// What issue 19 promises.
fn promises(name: &str) -> Vec<Target> {
    match name {
        OURS => {
            let fastembed = FASTEMBED.map(|rival| Target::at_least(rival, 1.5));
            let transformers = TRANSFORMERS.map(|rival| Target::at_least(rival, 4.0));
            let engine = [Target::at_least(ENGINE, 0.95)];
            fastembed.into_iter().chain(transformers).chain(engine).collect()
        }
        TWO_THREADS => vec![Target::at_least(ONE_THREAD, 1.8)],
        _ => Vec::new(),
    }
}
