//! `setup` and `quickstart`: the binary, its assets, and the first vectors.
//!
//! Where the data folder is and what is in it is the business of `embed models pull` alone.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::shell::Cmd;
use crate::workspace::Workspace;

/// Which weights to fetch.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Precision {
    /// The default one alone.
    Int8,
    /// Every one that the tests ask for.
    All,
}

impl Precision {
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

/// Builds the binary, fetches what it needs, and says in one line what it did. Gives back the binary.
pub(crate) fn run(workspace: &Workspace, precision: Precision, vars: &Vars<'_>) -> Result<PathBuf> {
    let start = Instant::now();
    let binary = build(workspace)?;
    let built = start.elapsed();
    Cmd::new(&binary, &workspace.root)
        .args(["models", "pull", "--precision", precision.as_str()])
        .envs(vars.iter().map(|(name, value)| (name, value)))
        .run()?;
    let pulled = start.elapsed() - built;
    println!(
        "setup: built {} in {}, runtime and model ({}) in place after {}",
        workspace.shown(&binary),
        seconds(built),
        precision.as_str(),
        seconds(pulled)
    );
    Ok(binary)
}

/// Setup, then the main job on a handful of texts. What is printed about them is the output of `embed`.
pub(crate) fn quickstart(workspace: &Workspace, vars: &Vars<'_>) -> Result<()> {
    let start = Instant::now();
    let binary = run(workspace, Precision::Int8, vars)?;
    for command in [&["encode", "--format", "table"][..], &["compare"]] {
        println!();
        Cmd::new(&binary, &workspace.root)
            .args(command)
            .args(TEXTS)
            .envs(vars.iter().map(|(name, value)| (name, value)))
            .run()?;
    }
    println!("\nquickstart: done in {}; next: {} --help", seconds(start.elapsed()), workspace.shown(&binary));
    Ok(())
}

/// Builds the release binary and gives back where cargo put it.
pub(crate) fn build(workspace: &Workspace) -> Result<PathBuf> {
    build_with(workspace, &[])
}

/// The same with variables for the compiler.
pub(crate) fn build_with(workspace: &Workspace, vars: &Vars<'_>) -> Result<PathBuf> {
    let messages = Cmd::cargo(&workspace.root)
        .args(["build", "--release", "--package=embed-cli", "--bin=embed"])
        .args(["--message-format=json-render-diagnostics"])
        .envs(vars.iter().map(|(name, value)| (name, value)))
        .announced()
        .read()?;
    executable(&messages).context("cargo built no executable `embed`")
}

/// The executable `embed` in cargo's messages: a target folder or triple set by the user is in there.
fn executable(messages: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == "embed")
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
            r#"{"reason":"compiler-artifact","target":{"name":"embed"},"executable":"/t/release/embed"}"#,
            "\n{\"reason\":\"build-finished\",\"success\":true}\n",
        );
        assert_eq!(executable(messages), Some(PathBuf::from("/t/release/embed")));
        assert_eq!(executable("{}"), None);
    }

    #[test]
    fn durations_read_well() {
        assert_eq!(seconds(Duration::from_millis(3_240)), "3.2 s");
        assert_eq!(seconds(Duration::from_secs(125)), "2 min 05 s");
        assert_eq!(seconds(Duration::from_millis(119_600)), "2 min 00 s");
    }
}
