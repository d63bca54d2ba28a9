//! `ci`: all checks, one step after the other, and a table of the results.
//!
//! The order is meant to fail early: steps without a compiler come first, those with the model last. No step sets
//! RUSTFLAGS, which would compile all dependencies again.

use std::ffi::OsString;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::setup::seconds;
use crate::shell::{Cmd, is_on};
use crate::test::{self, TestCounts};
use crate::workspace::Workspace;
use crate::{api, bench, deploy, edges, python, readme, setup, tidy};

/// The feature of embed-e5 whose build fetches a library from a host that isn't a package registry.
const DOWNLOADS: &str = "download-binaries";

/// Which steps to run.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Run only this step; may be given more than once.
    #[arg(long, value_name = "STEP", value_parser = names())]
    only: Vec<String>,
    /// Leave this step out; may be given more than once.
    #[arg(long, value_name = "STEP", value_parser = names())]
    skip: Vec<String>,
    /// List the steps, and run none.
    #[arg(long)]
    list: bool,
}

struct CiStep {
    name: &'static str,
    about: &'static str,
    /// Does the work; the returned text goes into the table.
    run: fn(&mut CiRun<'_>) -> Result<String>,
}

/// The state that the steps share.
struct CiRun<'w> {
    workspace: &'w Workspace,
    /// Variables for everything that starts `embed` or the tests.
    vars: Vec<(String, OsString)>,
    counts: TestCounts,
}

const STEPS: &[CiStep] = &[
    CiStep { name: "fmt", about: "the code is formatted", run: fmt },
    CiStep { name: "tidy", about: "the rules of the tree that no compiler checks", run: check_tidy },
    CiStep { name: "edges", about: "which crate may know which", run: check_edges },
    CiStep { name: "deny", about: "licences, banned crates, sources of all dependencies", run: deny },
    CiStep { name: "package", about: "what is published can be packed", run: package },
    CiStep { name: "clippy", about: "all targets, warnings denied", run: clippy },
    CiStep { name: "doc", about: "the documentation, warnings denied", run: doc },
    CiStep { name: "api", about: "the public API of the libraries is the recorded one", run: check_api },
    CiStep {
        name: "features",
        about: "each feature alone compiles, and what is left out is refused in words",
        run: features,
    },
    CiStep { name: "fuzz", about: "the fuzz targets compile; the tests feed them their seeds", run: fuzz },
    CiStep {
        name: "quickstart",
        about: "from an empty data folder to vectors, and again offline",
        run: quickstart,
    },
    CiStep {
        name: "deploy",
        about: "the files in deploy/, by rules and by the tools of their makers",
        run: check_deploy,
    },
    CiStep { name: "test", about: "all tests, with the real model", run: tests },
    CiStep {
        name: "python",
        about: "the wheel, installed and tested; adapters by their projects' tests; types",
        run: check_python,
    },
    CiStep { name: "cluster", about: "the wheel on clusters of Ray and Spark", run: check_clusters },
    CiStep { name: "otlp", about: "traces arrive at a collector", run: otlp },
    CiStep { name: "tables", about: "collections in Parquet and Arrow are migrated", run: tables },
    CiStep { name: "benches", about: "each benchmark runs once", run: benches },
    CiStep { name: "readme", about: "the commands of README.md work", run: check_readme },
];

/// The quick steps: all of them run, so that two broken ones are reported together.
const QUICK: &[&str] = &["fmt", "tidy", "edges", "deny", "package", "clippy", "doc", "api"];

enum StepOutcome {
    Passed(String),
    Failed,
    NotReached,
}

/// Runs the requested steps. All quick ones run; if one of them fails, none of the long ones begins.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    if options.list {
        for step in STEPS {
            println!("{:<11} {}", step.name, step.about);
        }
        return Ok(());
    }
    let steps: Vec<&CiStep> = STEPS.iter().filter(|step| options.picks(step.name)).collect();
    ensure!(!steps.is_empty(), "no step is left to run");
    let quickstarts = steps.iter().any(|step| step.name == "quickstart");
    let mut run =
        CiRun { workspace, vars: data_folder(workspace, quickstarts)?, counts: TestCounts::default() };

    let start = Instant::now();
    let mut failures = Vec::new();
    let mut rows = Vec::new();
    for (index, step) in steps.iter().enumerate() {
        if !failures.is_empty() && !QUICK.contains(&step.name) {
            rows.push((step.name, StepOutcome::NotReached, Duration::ZERO));
            continue;
        }
        println!("\n== {} ({} of {}): {}", step.name, index + 1, steps.len(), step.about);
        let begin = Instant::now();
        let outcome = match (step.run)(&mut run) {
            Ok(note) => StepOutcome::Passed(note),
            Err(error) => {
                println!("\n{} failed: {error:#}", step.name);
                failures.push(format!(
                    "the step `{0}` failed: {error:#}; `cargo xtask ci --only {0}` runs it alone",
                    step.name
                ));
                StepOutcome::Failed
            }
        };
        rows.push((step.name, outcome, begin.elapsed()));
    }

    println!("\n== summary");
    for (name, outcome, time) in &rows {
        println!("{}", row(name, outcome, *time));
    }
    println!(
        "{:<11} {:<7} {:>12}",
        "all",
        if failures.is_empty() { "ok" } else { "FAILED" },
        seconds(start.elapsed())
    );
    if run.counts != TestCounts::default() {
        println!("\n{}", run.counts);
    }
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    Ok(())
}

impl Options {
    fn picks(&self, name: &str) -> bool {
        let named = |list: &[String]| list.iter().any(|entry| entry == name);
        (self.only.is_empty() || named(&self.only)) && !named(&self.skip)
    }
}

fn names() -> clap::builder::PossibleValuesParser {
    STEPS.iter().map(|step| step.name).collect::<Vec<_>>().into()
}

fn row(name: &str, outcome: &StepOutcome, time: Duration) -> String {
    let (word, note) = match outcome {
        StepOutcome::Passed(note) => ("ok", note.as_str()),
        StepOutcome::Failed => ("FAILED", ""),
        StepOutcome::NotReached => return format!("{name:<11} not reached"),
    };
    format!("{name:<11} {word:<7} {:>12}   {note}", seconds(time)).trim_end().to_owned()
}

/// In CI the data folder is below the target folder, so that no files of the machine are used by accident. It is empty
/// when the quickstart runs, so that the quickstart has to fetch everything.
fn data_folder(workspace: &Workspace, empty: bool) -> Result<Vec<(String, OsString)>> {
    if !is_on("CI") || std::env::var_os("EMBED_HOME").is_some() {
        return Ok(Vec::new());
    }
    let home = workspace.target.join("ci-home");
    if empty && home.exists() {
        fs::remove_dir_all(&home).with_context(|| format!("cannot clear {}", workspace.shown(&home)))?;
    }
    fs::create_dir_all(&home).with_context(|| format!("cannot create {}", workspace.shown(&home)))?;
    println!(
        "ci: the data folder (EMBED_HOME) is {}{}",
        workspace.shown(&home),
        if empty { ", empty" } else { "" }
    );
    Ok(vec![("EMBED_HOME".to_owned(), home.into())])
}

impl CiRun<'_> {
    fn cargo(&self) -> Cmd {
        Cmd::cargo(&self.workspace.root)
    }
}

fn fmt(run: &mut CiRun<'_>) -> Result<String> {
    run.cargo().args(["fmt", "--all", "--check"]).run().context("`cargo fmt --all` fixes it")?;
    Ok(String::new())
}

fn check_tidy(run: &mut CiRun<'_>) -> Result<String> {
    tidy::run(run.workspace)?;
    Ok(String::new())
}

fn check_edges(run: &mut CiRun<'_>) -> Result<String> {
    edges::run(run.workspace)?;
    Ok(String::new())
}

/// Advisories are left out: their database is a git repository, and CI reaches package registries only.
fn deny(run: &mut CiRun<'_>) -> Result<String> {
    run.cargo()
        .args(["deny", "check", "--hide-inclusion-graph", "bans", "licenses", "sources"])
        .run()
        .context("the rules are in deny.toml; `.ci/run --tools-only` installs cargo-deny")?;
    Ok("advisories are not checked here".to_owned())
}

/// Packed and not built: `clippy` and `features` compile the same sources, and building the packages would compile all
/// dependencies again, in cargo's default profile.
fn package(run: &mut CiRun<'_>) -> Result<String> {
    let published = run.workspace.members.iter().filter(|member| member.published);
    let args: Vec<_> = published.flat_map(|member| ["--package", &*member.name]).collect();
    run.cargo().args(["package", "--no-verify", "--allow-dirty", "--offline"]).args(&args).run().context(
        "a dependency on another crate of the workspace has a version, but for dev-dependencies on embed-testkit; \
         `cargo fetch` brings the index",
    )?;
    Ok(format!("{} crates", args.len() / 2))
}

fn clippy(run: &mut CiRun<'_>) -> Result<String> {
    // The flags go behind `--` and not into RUSTFLAGS, so that dependencies keep their build artefacts.
    run.cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]).run()?;
    Ok(String::new())
}

fn doc(run: &mut CiRun<'_>) -> Result<String> {
    let strict = [("RUSTDOCFLAGS", "-D warnings")];
    run.cargo().args(["doc", "--workspace", "--no-deps"]).envs(strict).run()?;
    // The library `embed` has the name of the command, and cargo would mix the pages of both in one folder without a word.
    // So the pages of the command, which are only checked, get one of their own; what is compiled for them is shared.
    let target = &run.workspace.target;
    run.cargo()
        .args(["doc", "--workspace", "--no-deps", "--bin", "embed"])
        .envs(strict)
        .envs([("CARGO_TARGET_DIR", &target.join("doc-of-command")), ("CARGO_BUILD_BUILD_DIR", target)])
        .run()?;
    Ok(String::new())
}

fn check_api(run: &mut CiRun<'_>) -> Result<String> {
    Ok(format!("{} libraries", api::run(run.workspace)?))
}

/// `--no-dev-deps` is not given: it rewrites the manifests while it runs, and resolver 3 leaves the
/// features of dev-dependencies out of a plain check anyway.
fn features(run: &mut CiRun<'_>) -> Result<String> {
    let mut cmd = run.cargo().args(["hack", "check", "--workspace", "--each-feature"]);
    let declared = run.workspace.members.iter().any(|member| member.features.iter().any(|f| f == DOWNLOADS));
    let offline = declared && !is_on("EMBED_CI_DOWNLOADS");
    if offline {
        // A switch of `ort`'s build script: the feature still compiles, and only the library is neither fetched nor
        // linked, which a check doesn't need.
        cmd = cmd.envs([("ORT_SKIP_DOWNLOAD", "1")]);
        println!(
            "features: `{DOWNLOADS}` is checked without its download, which is from no package registry; \
             EMBED_CI_DOWNLOADS=1 turns the download on"
        );
    }
    cmd.run().context("`.ci/run --tools-only` installs cargo-hack")?;
    // What is left out is refused in words.
    for (of, features, target) in
        [("embed", "e5", "--test=it"), ("embed-remote", "", "--lib"), ("embed-cli", "", "--test=it")]
    {
        let args = ["test", "--no-default-features", "--package", of, "--features", features];
        run.cargo().args(args).args([target, "without_the_feature"]).run()?;
    }
    Ok(if offline { format!("{DOWNLOADS} without its download") } else { String::new() })
}

/// These are separate workspaces, which the steps above don't check. Their target folder is next to the others.
fn fuzz(run: &mut CiRun<'_>) -> Result<String> {
    let target = run.workspace.target.join("fuzz");
    for of in ["embed-cli", "embed-gateway", "embed-gemm"] {
        let manifest = format!("crates/{of}/fuzz/Cargo.toml");
        run.cargo()
            .args(["check", "--locked", "--manifest-path", &manifest])
            .envs([("CARGO_TARGET_DIR", &target)])
            .run()
            .with_context(|| {
                format!(
                    "libfuzzer-sys needs a C++ compiler, which `.ci/run --tools-only` installs; an old lock file is \
                     brought up to date by `cargo update --workspace --manifest-path {manifest}`"
                )
            })?;
    }
    Ok(String::new())
}

fn quickstart(run: &mut CiRun<'_>) -> Result<String> {
    let start = Instant::now();
    setup::quickstart(run.workspace, &run.vars)?;
    let first = start.elapsed();
    println!("\nonce more, with every way to fetch something closed:");
    let closed = [("HF_HUB_OFFLINE", "1"), ("PIP_NO_INDEX", "1"), ("CARGO_NET_OFFLINE", "true")];
    let mut vars = run.vars.clone();
    vars.extend(closed.map(|(name, value)| (name.to_owned(), value.into())));
    let start = Instant::now();
    setup::quickstart(run.workspace, &vars).context("the second run must not fetch anything")?;
    Ok(format!("first {}, again {} offline", seconds(first), seconds(start.elapsed())))
}

fn check_deploy(run: &mut CiRun<'_>) -> Result<String> {
    deploy::run(run.workspace)
}

fn tests(run: &mut CiRun<'_>) -> Result<String> {
    let (counts, all_is_well) = test::run(run.workspace, &[], &[], &run.vars)?;
    run.counts = counts;
    all_is_well.map(|()| counts.to_string())
}

fn check_python(run: &mut CiRun<'_>) -> Result<String> {
    python::run(run.workspace, &run.vars)
}

fn check_clusters(run: &mut CiRun<'_>) -> Result<String> {
    python::run_clusters(run.workspace, &run.vars)
}

/// The binary that is shipped has no traces.
fn otlp(run: &mut CiRun<'_>) -> Result<String> {
    let args = ["test", "--workspace", "--features", "embed-cli/otlp", "--test", "gateway", "traces"];
    run.cargo().args(args).envs([("EMBED_REQUIRE", "1")]).run()?;
    Ok(String::new())
}

/// The binary that is shipped has this feature; what the step `test` has tested has it not.
fn tables(run: &mut CiRun<'_>) -> Result<String> {
    let args = ["test", "--workspace", "--features", "embed-cli/parquet", "--test", "it", "migrate"];
    run.cargo().args(args).envs([("EMBED_REQUIRE", "1")]).run()?;
    Ok(String::new())
}

fn benches(run: &mut CiRun<'_>) -> Result<String> {
    let count = bench::run_as_tests(run.workspace, &run.vars)?;
    Ok(format!("{count} benchmark targets"))
}

fn check_readme(run: &mut CiRun<'_>) -> Result<String> {
    let count = readme::run(run.workspace, &run.vars)?;
    Ok(format!("{count} commands besides the steps above"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_and_skip_pick_steps() {
        let owned = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        let picked = |only: &[&str], skip: &[&str]| {
            let options = Options { only: owned(only), skip: owned(skip), list: false };
            STEPS.iter().map(|step| step.name).filter(|name| options.picks(name)).collect::<Vec<_>>()
        };
        assert_eq!(picked(&[], &[]).len(), STEPS.len());
        assert_eq!(picked(&["doc", "fmt"], &[]), ["fmt", "doc"]);
        assert_eq!(picked(&["doc", "fmt"], &["doc"]), ["fmt"]);
        assert_eq!(picked(&[], &["test"]).len(), STEPS.len() - 1);
    }

    #[test]
    fn the_table_shows_what_happened() {
        let passed = row("doc", &StepOutcome::Passed("fine".to_owned()), Duration::from_secs(61));
        assert_eq!(passed, "doc         ok        1 min 01 s   fine");
        assert_eq!(row("test", &StepOutcome::NotReached, Duration::ZERO), "test        not reached");
        assert!(row("fmt", &StepOutcome::Failed, Duration::from_secs(1)).contains("FAILED"));
    }
}
