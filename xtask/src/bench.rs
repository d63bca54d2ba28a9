//! `bench`: every benchmark, measured with the parts it needs, and one report of all.
//!
//! `targets` says what there is to measure and builds it, `pace` how long it may take. The report is made by the crate
//! `embed-report`, so that its dependencies don't slow the other commands down.

mod pace;
mod targets;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};

use self::targets::{Built, RIVALS, Selection};
use crate::needs::{self, FoundParts};
use crate::setup::{self, BuildProfile, PrecisionChoice, Vars, seconds};
use crate::shell::Cmd;
use crate::test;
use crate::workspace::Workspace;

/// What makes the report.
const REPORT: &str = "embed-report";

/// What to measure, and where to write the report.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Option<After>,
    /// Measure only these: an area such as `cache`, a benchmark such as `redis`, or both as `cache/redis`.
    names: Vec<String>,
    /// List the benchmarks, and measure nothing.
    #[arg(long)]
    list: bool,
    /// Rough figures of everything within three minutes, building not counted.
    #[arg(long)]
    quick: bool,
    /// Where to write the report as JSON.
    #[arg(long, value_name = "FILE", default_value = "target/bench/report.json")]
    json: PathBuf,
    /// Where to write the report as a page; its plots go into the folder `plots` next to it.
    #[arg(long, value_name = "FILE", default_value = "target/bench/report.html")]
    html: PathBuf,
    /// Build the benchmarks with another profile of cargo's, such as `dev`, to see that all of it works.
    #[arg(long, value_name = "PROFILE", default_value = "bench")]
    profile: String,
    /// Keep the table and write README.md, too, as `bench readme` does.
    #[arg(long)]
    readme: bool,
    /// Passed to criterion, such as `--save-baseline main`, or a part of a benchmark's name.
    #[arg(last = true)]
    criterion_args: Vec<String>,
}

/// Commands on existing reports.
#[derive(Debug, Subcommand)]
enum After {
    /// Say what got slower or faster beyond noise between two reports; exit code 1 if something got slower.
    Compare {
        /// The earlier report, as JSON.
        before: PathBuf,
        /// The later one.
        after: PathBuf,
    },
    /// Keep the table of a report in docs/benchmarks, under the kind of its processor, and write those of all kinds, and a
    /// picture, into README.md.
    Readme {
        /// The report, as JSON.
        #[arg(default_value = "target/bench/report.json")]
        report: PathBuf,
    },
}

/// `cargo xtask bench`.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    match &options.command {
        Some(After::Compare { before, after }) => {
            let report = targets::build_binary(workspace, REPORT, targets::RELEASE)?;
            // A path is relative to the folder in which the command was typed.
            Cmd::new(report, Path::new("."))
                .args(["compare".as_ref(), before.as_os_str(), after.as_os_str()])
                .run()
        }
        Some(After::Readme { report }) => {
            write_readme(workspace, &targets::build_binary(workspace, REPORT, targets::RELEASE)?, report)
        }
        None => measure(workspace, options),
    }
}

fn write_readme(workspace: &Workspace, program: &Path, report: &Path) -> Result<()> {
    let root = workspace.root.as_os_str();
    let args = ["readme".as_ref(), report.as_os_str(), "--root".as_ref(), root];
    Cmd::new(program, Path::new(".")).args(args).run()
}

fn measure(workspace: &Workspace, options: &Options) -> Result<()> {
    let selection = Selection::new(workspace, &options.names)?;
    if options.list {
        selection.names().for_each(|name| println!("{name}"));
        return Ok(());
    }
    let embed = setup::run(workspace, BuildProfile::Release, PrecisionChoice::All, &[])?;
    let built = selection.build(workspace, &options.profile)?;
    let report = targets::build_binary(workspace, REPORT, &options.profile)?;

    let folder = workspace.target.join("bench");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", workspace.shown(&folder)))?;
    let figures = folder.join("figures.jsonl");
    fs::write(&figures, "").with_context(|| format!("cannot empty {}", workspace.shown(&figures)))?;
    let criterion = workspace.target.join("criterion");
    let since = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?.as_secs();
    let mut vars: Vec<(&str, OsString)> = needs::ollama_rig(&workspace.root).into_iter().collect();
    vars.push(("EMBED_BENCH_OUT", figures.clone().into()));
    vars.push(("CRITERION_HOME", criterion.clone().into()));
    if let Some(rivals) = built.iter().find(|target| target.part.is_some()) {
        // Built, installed, exported and searched for once; what can't be fetched is skipped later, with the reason.
        let parts = built.iter().filter_map(|target| target.part.as_ref());
        Cmd::new(&rivals.executable, &rivals.folder).args(["prepare"]).args(parts).run()?;
    }

    let start = Instant::now();
    let mut notes = Notes::default();
    notes.engine(&embed, &workspace.root);
    for target in &built {
        let begin = Instant::now();
        println!("\n== {}", target.name());
        let share = options.quick.then(|| pace::quick_share(&target.name()));
        let result = command(target, options)
            .envs(vars.iter().map(|(name, value)| (name, value)))
            // Each program chooses what it can do in that time.
            .envs(share.map(|share| ("EMBED_BENCH_QUICK", share.as_secs().to_string())))
            .run_noting(|line| {
                // Written by `embed_testkit::require`.
                if let Some((part, why)) =
                    line.strip_prefix("SKIPPED, for lack of ").and_then(|rest| rest.split_once(": "))
                {
                    notes.say("--skipped", format!("{part} ({})={why}", target.name()));
                }
            });
        if let Err(error) = result {
            println!("{error:#}");
            notes.say("--problem", format!("{} failed: {error:#}", target.name()));
            notes.failed.push(target.name());
        }
        let of = share.map(|share| format!(", its share is {}", seconds(share))).unwrap_or_default();
        println!("== {} took {}{of}", target.name(), seconds(begin.elapsed()));
    }
    if workspace.member(RIVALS).is_err() {
        notes.say("--skipped", format!("rivals=the workspace has no crate `{RIVALS}`"));
    }
    println!("\nmeasured everything in {}\n", seconds(start.elapsed()));

    let typed = std::env::args().skip(1).collect::<Vec<_>>().join(" ");
    let mut build = Cmd::new(&report, Path::new("."))
        .args(["build".as_ref(), "--figures".as_ref(), figures.as_os_str()])
        .args(["--criterion".as_ref(), criterion.as_os_str(), "--root".as_ref(), workspace.root.as_os_str()])
        .args([
            "--since".to_owned(),
            since.to_string(),
            "--command".to_owned(),
            format!("cargo xtask {typed}"),
        ])
        .args(["--json".as_ref(), options.json.as_os_str(), "--html".as_ref(), options.html.as_os_str()])
        .args(["--plots".as_ref(), options.html.with_file_name("plots").as_os_str()])
        .args(&notes.arguments);
    if options.quick {
        build = build.args(["--quick"]);
    }
    build.quietly().run()?;
    if options.readme {
        write_readme(workspace, &report, &options.json)?;
    }
    if !notes.failed.is_empty() {
        bail!("these benchmarks failed, and the report lacks them: {}", notes.failed.join(", "));
    }
    Ok(())
}

/// How one program is started.
fn command(target: &Built, options: &Options) -> Cmd {
    let cmd = Cmd::new(&target.executable, &target.folder);
    if let Some(part) = &target.part {
        let quick = options.quick.then_some("--quick");
        return cmd.args([part]).args(quick);
    }
    // With this argument cargo starts a benchmark as a benchmark and not as a test.
    let cmd = cmd.args(["--bench", "--noplot"]);
    cmd.args(pace::criterion(&target.name(), options.quick, &options.criterion_args))
}

/// What the report contains besides figures.
#[derive(Debug, Default)]
struct Notes {
    arguments: Vec<String>,
    failed: Vec<String>,
}

impl Notes {
    fn say(&mut self, flag: &str, text: impl Into<String>) {
        let text = text.into();
        if !self.arguments.contains(&text) {
            self.arguments.extend([flag.to_owned(), text]);
        }
    }

    /// Which ONNX Runtime is measured, and with which kernels: what `embed doctor` says.
    fn engine(&mut self, embed: &Path, root: &Path) {
        // It ends with 1 if something else is wrong, which doesn't concern the report.
        let line = Cmd::new(embed, root).args(["doctor", "--format=jsonl"]).read_anyway().unwrap_or_default();
        let findings = line.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        for finding in findings {
            let detail = finding["detail"].as_str().unwrap_or_default();
            match (finding["check"].as_str(), detail.split_once(": ")) {
                (Some("runtime"), Some((_, build))) => self.say(
                    "--version",
                    format!("ONNX Runtime={}", build.trim_start_matches("ORT Build Info: ")),
                ),
                (Some("kernels"), _) => self.say("--fact", format!("kernels={detail}")),
                _ => {}
            }
        }
    }
}

/// Runs every benchmark once as a test, so that CI finds one that no longer compiles or works.
pub(crate) fn run_as_tests(workspace: &Workspace, vars: &Vars<'_>) -> Result<usize> {
    let count = workspace.members.iter().map(|member| member.benches.len()).sum();
    if count == 0 {
        println!("benches: the workspace has none");
        return Ok(0);
    }
    // The rivals' lock file contains our crates' dependencies, and a run builds with it as it is.
    Cmd::cargo(&workspace.root)
        .args(["update", "--workspace", "--locked", "--manifest-path", "benches/foreign/Cargo.toml"])
        .run()?;
    // The whole workspace in one call: by package, cargo would choose other features for the
    // dependencies than the tests did, and compile them once more.
    Cmd::cargo(&workspace.root)
        .args(["test", "--workspace", "--bench=*"])
        .args(targets::FEATURES)
        .envs(vars.iter().map(|(name, value)| (name, value)))
        .envs(test::variables(&workspace.root, &FoundParts::look(&workspace.root, true)))
        .run()?;
    Ok(count)
}
