//! `setup` and `quickstart`: the binary, its assets, and the first vectors.
//!
//! Only `embed models pull` knows where the data folder is and what is in it.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use crate::shell::Cmd;
use crate::workspace::Workspace;

/// Which weights to fetch.
#[derive(Debug, Clone, Copy)]
pub(crate) enum PrecisionChoice {
    /// The default one alone.
    Int8,
    /// Every one that the tests ask for.
    All,
}

impl PrecisionChoice {
    fn as_str(self) -> &'static str {
        match self {
            Self::Int8 => "int8",
            Self::All => "all",
        }
    }
}

/// Variables that a command passes on to `embed`.
pub(crate) type Vars<'v> = [(String, std::ffi::OsString)];

/// The texts of the quickstart: three pairs that mean the same in two languages, and one that mixes both.
const TEXTS: &[&str] = &[
    "How do I optimize a database query?",
    "データベースのクエリを最適化する方法",
    "A recipe for miso soup with tofu",
    "豆腐の味噌汁の作り方",
    "The train to Kyoto leaves at nine",
    "京都行きの電車は九時に出ます",
    "Rust の async runtime は tokio を使います",
];

/// The program that embeds before `embed` is built.
const FIRST: &str = "embed-first";

/// How cargo builds `embed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BuildProfile {
    /// Quickly: with the profile of the tests, so that compiled crates are shared.
    Quick,
    /// With the profile that is shipped and measured.
    Release,
}

impl BuildProfile {
    pub(crate) fn profile(self) -> &'static str {
        match self {
            Self::Quick => "dev",
            Self::Release => "release",
        }
    }
}

/// Builds the binary, fetches what it needs, and reports what it does. Returns the path of the binary.
pub(crate) fn run(
    workspace: &Workspace,
    build: BuildProfile,
    precision: PrecisionChoice,
    vars: &Vars<'_>,
) -> Result<PathBuf> {
    let start = Instant::now();
    println!("setup: compiling `embed`, profile {}", build.profile());
    let binary = executable(&cargo_build(workspace, build, &["embed"], &[]).read()?, "embed");
    let binary = binary.context("cargo built no executable `embed`")?;
    println!("setup: compiled {} in {}", workspace.shown(&binary), seconds(start.elapsed()));
    pull(workspace, &binary, precision, vars)?;
    println!(
        "setup: runtime and models ({}) in place after {}",
        precision.as_str(),
        seconds(start.elapsed())
    );
    Ok(binary)
}

/// Fetches the models of the hybrid service. What is there already is verified and left alone.
fn pull(workspace: &Workspace, binary: &Path, precision: PrecisionChoice, vars: &Vars<'_>) -> Result<()> {
    Cmd::new(binary, &workspace.root)
        .args(["models", "pull", "--precision", precision.as_str()])
        .envs([("TMWS_EMBEDDING_SERVICE", "hybrid")])
        .envs(vars.iter().map(|(name, value)| (name, value)))
        .run()
}

/// From nothing to vectors. Half of the crates are enough to fetch the model and embed a text, so they are compiled first;
/// that program embeds while the rest is compiled. Then `embed` shows what it can do.
pub(crate) fn quickstart(workspace: &Workspace, vars: &Vars<'_>) -> Result<()> {
    let start = Instant::now();
    println!("quickstart: 1 of 3, compiling what embeds a text (a minute or two on two cores)");
    let first = executable(&cargo_build(workspace, BuildProfile::Quick, &[FIRST], &[]).read()?, FIRST);
    let first = first.with_context(|| format!("cargo built no executable `{FIRST}`"))?;
    let after = seconds(start.elapsed());
    println!(
        "quickstart: 2 of 3, after {after}: fetching the model and embedding; at the same time, compiling the rest"
    );
    let first = Cmd::new(&first, &workspace.root)
        .args(TEXTS)
        .envs(vars.iter().map(|(name, value)| (name, value)))
        .start()?;
    let (embedded, binary) = thread::scope(|scope| {
        let embedded = scope.spawn(move || {
            let ended = first.wait_with_output();
            if ended.is_ok_and(|output| output.status.success()) {
                println!("quickstart: first vectors after {}", seconds(start.elapsed()));
            }
        });
        let binary = cargo_build(workspace, BuildProfile::Quick, &[FIRST, "embed"], &[]).read();
        (embedded.join(), binary)
    });
    embedded.map_err(|_| anyhow!("the thread that waits for `{FIRST}` died"))?;
    let binary = executable(&binary?, "embed").context("cargo built no executable `embed`")?;
    println!("quickstart: 3 of 3, after {}: the command `embed` is compiled", seconds(start.elapsed()));
    // What couldn't be fetched is tried again here, and the reason is printed.
    pull(workspace, &binary, PrecisionChoice::Int8, vars)?;
    // English by all-MiniLM, the rest by E5, both in the process; then what each is searched with in either space; then all of
    // them in the space of E5.
    let encode = ["encode", "--service", "hybrid", "--format", "table"];
    for command in [&encode[..], &[&encode[..], &["--plan", "query"]].concat(), &["compare"]] {
        println!();
        Cmd::new(&binary, &workspace.root)
            .args(command)
            .args(TEXTS)
            .envs(vars.iter().map(|(name, value)| (name, value)))
            .run()?;
    }
    println!("\nquickstart: done in {}; next: {} --help", seconds(start.elapsed()), workspace.shown(&binary));
    println!("`cargo build --release --package embed-cli` builds it as it is shipped and measured");
    Ok(())
}

/// Builds the release binary and returns its path.
pub(crate) fn build(workspace: &Workspace) -> Result<PathBuf> {
    build_with(workspace, &[], &[])
}

/// The same with features of packages, and variables for the compiler.
pub(crate) fn build_with(workspace: &Workspace, features: &[&str], vars: &Vars<'_>) -> Result<PathBuf> {
    let features = features.iter().map(|feature| format!("--features={feature}"));
    let messages = cargo_build(workspace, BuildProfile::Release, &["embed"], vars).args(features).read()?;
    executable(&messages, "embed").context("cargo built no executable `embed`")
}

/// Both packages are always named, since cargo chooses the features of the dependencies by them: what is compiled for one
/// program is then reused for the other.
fn cargo_build(workspace: &Workspace, build: BuildProfile, programs: &[&str], vars: &Vars<'_>) -> Cmd {
    Cmd::cargo(&workspace.root)
        .args(["build", "--profile", build.profile(), "--package=embed-cli", "--package=embed-assets"])
        .args(programs.iter().map(|program| format!("--bin={program}")))
        .args(["--message-format=json-render-diagnostics"])
        .envs(vars.iter().map(|(name, value)| (name, value)))
        .announced()
}

/// The executable of that name in cargo's messages, which respect a target folder or triple that the user set.
fn executable(messages: &str, name: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == name)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
}

/// A duration as people read it.
pub(crate) fn seconds(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds < 60.0 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round() as u64;
    format!("{} min {:02} s", whole / 60, whole % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_executable_is_read_from_cargos_messages() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","target":{"name":"embed_core"},"executable":null}"#,
            "\nnot json\n",
            r#"{"reason":"compiler-artifact","target":{"name":"embed"},"executable":"/t/debug/embed"}"#,
            "\n{\"reason\":\"build-finished\",\"success\":true}\n",
        );
        assert_eq!(executable(messages, "embed"), Some(PathBuf::from("/t/debug/embed")));
        assert_eq!(executable(messages, FIRST), None);
    }

    #[test]
    fn durations_read_well() {
        assert_eq!(seconds(Duration::from_millis(3_240)), "3.2 s");
        assert_eq!(seconds(Duration::from_secs(125)), "2 min 05 s");
        assert_eq!(seconds(Duration::from_millis(119_600)), "2 min 00 s");
    }
}
