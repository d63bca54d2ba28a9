//! The program: `build` makes a report, `compare` puts two side by side, `readme` writes one into README.md.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool talks on both")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use embed_report::chart::Chart;
use embed_report::facts::{Machine, Run, versions};
use embed_report::figure::{Figures, Skipped};
use embed_report::kept::{FOLDER, Kept};
use embed_report::report::Report;
use embed_report::{catalogue, compare, criterion, page, png, readme, terminal};

/// Makes reports of what the benchmarks measured.
#[derive(Debug, Parser)]
#[command(disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make one report out of figures.
    Build(Build),
    /// Show a report again.
    Render {
        /// What `build` wrote.
        report: PathBuf,
        #[command(flatten)]
        outputs: Outputs,
    },
    /// Say what got slower or faster beyond noise. The exit code is 1 if something got slower.
    Compare {
        /// The earlier report.
        before: PathBuf,
        /// The later one.
        after: PathBuf,
    },
    /// Keep the table of a report in docs/benchmarks, and write those of all processors, and a picture, into README.md.
    Readme {
        /// The report.
        report: PathBuf,
        /// The root of the repository.
        #[arg(long, default_value = ".")]
        root: PathBuf,
    },
}

#[derive(Debug, Args)]
struct Build {
    /// JSON lines that the measuring programs wrote.
    #[arg(long, value_name = "FILE")]
    figures: PathBuf,
    /// The folder of criterion's results.
    #[arg(long, value_name = "FOLDER")]
    criterion: PathBuf,
    /// Leave out results of criterion's that are older, in seconds since 1970.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    since: u64,
    /// The root of the repository.
    #[arg(long, default_value = ".")]
    root: PathBuf,
    /// What was typed to measure.
    #[arg(long, default_value = "")]
    command: String,
    /// The run was a quick one.
    #[arg(long)]
    quick: bool,
    /// The version of something that the lock file doesn't name.
    #[arg(long = "version", value_name = "NAME=VERSION", value_parser = pair)]
    versions: Vec<(String, String)>,
    /// Something that a reader should know of the run.
    #[arg(long = "fact", value_name = "NAME=VALUE", value_parser = pair)]
    facts: Vec<(String, String)>,
    /// What was not measured, and why.
    #[arg(long = "skipped", value_name = "WHAT=WHY", value_parser = pair)]
    skipped: Vec<(String, String)>,
    /// What went wrong.
    #[arg(long = "problem", value_name = "SENTENCE")]
    problems: Vec<String>,
    #[command(flatten)]
    outputs: Outputs,
}

#[derive(Debug, Args)]
struct Outputs {
    /// Where to write the report as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where to write the page.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Where to write the plots, as PNG and as SVG.
    #[arg(long, value_name = "FOLDER")]
    plots: Option<PathBuf>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("it has no `=`")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Build(build) => {
            let report = report(&build)?;
            print!("{}", terminal::summary(&report));
            write(&report, &build.outputs)?;
        }
        Command::Render { report, outputs } => write(&read(&report)?, &outputs)?,
        Command::Compare { before, after } => {
            let comparison = compare::compare(&read(&before)?, &read(&after)?);
            print!("{}", comparison.show());
            if comparison.is_slower() {
                return Ok(ExitCode::FAILURE);
            }
        }
        Command::Readme { report, root } => write_readme(&read(&report)?, &root)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn report(build: &Build) -> Result<Report> {
    // A run of criterion's benchmarks alone has no lines.
    let lines = match fs::read_to_string(&build.figures) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        lines => lines.with_context(|| format!("cannot read {}", build.figures.display()))?,
    };
    let mut read = Figures::read(&lines);
    read.figures.extend(criterion::read(&build.criterion, UNIX_EPOCH + Duration::from_secs(build.since))?);
    let mut versions = versions(&build.root)?;
    versions.extend(build.versions.iter().cloned());
    let run = Run::now(&build.root, build.command.clone(), build.quick);
    let mut report = Report::new(run, Machine::here(), versions, read.figures);
    report.facts = build.facts.iter().cloned().chain(read.facts).collect();
    report.problems.extend(read.problems);
    report.problems.extend(build.problems.iter().cloned());
    let skipped =
        build.skipped.iter().map(|(what, why)| Skipped { suite: None, what: what.clone(), why: why.clone() });
    report.skipped = read.skipped.into_iter().chain(skipped).collect();
    Ok(report)
}

fn read(path: &Path) -> Result<Report> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Report::from_json(&text).with_context(|| format!("{} can't be used", path.display()))
}

fn write(report: &Report, outputs: &Outputs) -> Result<()> {
    if let Some(path) = &outputs.json {
        save(path, (serde_json::to_string_pretty(report)? + "\n").as_bytes())?;
    }
    if let Some(path) = &outputs.html {
        save(path, page::page(report).as_bytes())?;
    }
    let Some(folder) = &outputs.plots else { return Ok(()) };
    for (name, chart) in plots(report) {
        save(&folder.join(format!("{name}.png")), &png::paint(&chart)?)?;
        save(&folder.join(format!("{name}.svg")), chart.file().as_bytes())?;
    }
    Ok(())
}

/// All plots of a report, by the name of their file.
fn plots(report: &Report) -> Vec<(String, Chart)> {
    let mut plots = Vec::new();
    if let Some((suite, _)) = page::headline(report) {
        plots.push(("headline".to_owned(), Chart::of_suite(suite, page::headline_title(suite))));
    }
    let families = || catalogue::AREAS.iter().filter_map(|area| Some((area.id, area.family.as_ref()?)));
    plots.extend(
        families().filter_map(|(id, family)| Some((id.to_owned(), Chart::of_family(report, family)?))),
    );
    let single = report
        .suites
        .iter()
        .filter(|suite| !families().any(|(_, family)| suite.id.starts_with(family.prefix)));
    plots.extend(single.map(|suite| {
        let letters =
            suite.id.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' });
        (letters.collect(), Chart::of_suite(suite, suite.title()))
    }));
    plots
}

fn write_readme(report: &Report, root: &Path) -> Result<()> {
    const PICTURE: &str = "docs/img/bench.svg";
    let path = root.join("README.md");
    let text = fs::read_to_string(&path).context("cannot read README.md")?;
    let kept = Kept::of(report)?;
    kept.write(root)?;
    println!("wrote {FOLDER}/{}", kept.file_name());
    let (suite, _) = page::headline(report).context("the report has no headline")?;
    let title = format!("{}, {}", page::headline_title(suite), kept.processor);
    let renewed = readme::renew(&text, &Kept::all(root)?, (&title, PICTURE))?;
    save(&root.join(PICTURE), Chart::of_suite(suite, title).file().as_bytes())?;
    save(&path, renewed.as_bytes())
}

fn save(path: &Path, bytes: &[u8]) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    println!("wrote {}", path.display());
    Ok(())
}
