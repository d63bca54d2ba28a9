//! The project's own commands, started as `cargo xtask <command>`.
//!
//! This is the only entry to building, testing and packaging: what CI runs is `cargo xtask ci`, and
//! each part of it can be run alone. One file is one command, `shell` and `workspace` are shared.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool talks on both")]

mod api;
mod bench;
mod build_context;
mod ci;
mod deploy;
mod drill;
mod edges;
mod needs;
mod package;
mod python;
mod readme;
mod setup;
mod shell;
mod test;
mod tidy;
mod tidy_rules;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::setup::{BuildProfile, PrecisionChoice};
use crate::shell::Cmd;
use crate::workspace::Workspace;

/// The project's own commands.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask", disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build the binary `embed` and fetch the ONNX Runtime library and the int8 model.
    ///
    /// They go to the data folder that `embed` itself chooses: EMBED_HOME, or the platform's own.
    /// What is there already is verified and left alone.
    Setup {
        /// Also fetch the float32 model.
        #[arg(long)]
        all: bool,
    },
    /// From a fresh clone to vectors: setup, then embed and compare a handful of texts.
    Quickstart,
    /// Set up what the tests need and run all tests of the workspace, doc tests included.
    ///
    /// Every test program runs, even if one before it failed. Tests that need something that isn't installed are left out,
    /// and the summary lists them with the command that installs it; with CI set, they fail.
    Test {
        /// Run only tests whose names contain one of these.
        filters: Vec<String>,
        /// Passed to `cargo test`, such as `-p embed-core` or, after a further `--`, `--nocapture`.
        #[arg(last = true)]
        cargo_args: Vec<String>,
    },
    /// Everything that CI runs, in an order that fails early.
    Ci(ci::Options),
    /// Check which crate of the workspace depends on which, and what no tree may contain.
    Edges,
    /// Check the rules of the tree that no compiler checks.
    Tidy,
    /// Run the benchmarks, and write one report: target/bench/report.html, JSON, plots.
    Bench(bench::Options),
    /// Play outages against the real binary, and show how each one ended.
    ///
    /// A scene fails if a caller gets a row that differs from the one before the outage, or if the service hasn't recovered
    /// ten seconds after the end of the cause. docs/reliability.md describes the scenes. The tests play each one once.
    Drill(drill::Options),
    /// Measure the activations of a model, write the table that its 8-bit form needs, and print how far that is from f32.
    Calibrate {
        /// The model, as `embed models list` names it.
        model: String,
    },
    /// Build the release binary and pack it with licences and checksums into target/package.
    Package,
    /// Build the wheel of the Python module and the command into target/package, for release.
    ///
    /// On Linux it runs with glibc 2.28 and newer: zig, which comes from PyPI, links against that. Both are compiled anew
    /// for it, which takes some minutes.
    Wheel,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    let workspace = Workspace::load()?;
    match command {
        Command::Setup { all } => {
            let precision = if all { PrecisionChoice::All } else { PrecisionChoice::Int8 };
            setup::run(&workspace, BuildProfile::Release, precision, &[]).map(drop)
        }
        Command::Quickstart => setup::quickstart(&workspace, &[]),
        Command::Test { filters, cargo_args } => test::run(&workspace, &filters, &cargo_args, &[])?.1,
        Command::Ci(options) => ci::run(&workspace, &options),
        Command::Edges => edges::run(&workspace),
        Command::Tidy => tidy::run(&workspace),
        Command::Bench(options) => bench::run(&workspace, &options),
        Command::Drill(options) => drill::run(&workspace, &options),
        Command::Calibrate { model } => Cmd::cargo(&workspace.root)
            .args(["run", "--release", "-p", "embed-assets", "--example", "calibrate", "--", &model])
            .announced()
            .run(),
        Command::Package => package::run(&workspace),
        Command::Wheel => python::release(&workspace),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn a_benchmark_is_named_and_reports_are_compared() {
        for words in
            [&["cache", "--quick"][..], &["compare", "a.json", "b.json"], &["readme"], &["redis", "--", "-n"]]
        {
            Cli::try_parse_from(["xtask", "bench"].iter().chain(words)).unwrap();
        }
    }

    #[test]
    fn words_after_the_dashes_go_to_cargo() {
        let cli = Cli::parse_from(["xtask", "test", "space", "--", "-p", "embed-core", "--", "--nocapture"]);
        let Command::Test { filters, cargo_args } = cli.command else { panic!("not the command test") };
        assert_eq!(filters, ["space"]);
        assert_eq!(cargo_args, ["-p", "embed-core", "--", "--nocapture"]);
    }
}
