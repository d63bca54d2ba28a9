//! `bench`: every benchmark, measured with the real model and, where there is one, a real Ollama server.

use anyhow::Result;

use crate::setup::{self, Precision, Vars};
use crate::shell::Cmd;
use crate::test;
use crate::workspace::Workspace;

/// Measures. `names` are criterion's filters, each a regular expression.
pub(crate) fn run(workspace: &Workspace, names: &[String], criterion_args: &[String]) -> Result<()> {
    setup::run(workspace, Precision::All, &[])?;
    // The benchmark targets alone: the test harness of the library would refuse criterion's arguments.
    let mut cmd = Cmd::cargo(&workspace.root).args(["bench", "--workspace", "--bench=*", "--"]);
    if !names.is_empty() {
        cmd = cmd.args([names.join("|")]);
    }
    cmd.args(criterion_args).envs(test::variables(&workspace.root)).run()
}

/// Lets every benchmark run once, as a test: one that no longer compiles or works is found in CI.
pub(crate) fn run_as_tests(workspace: &Workspace, vars: &Vars<'_>) -> Result<usize> {
    let count = workspace.members.iter().map(|member| member.benches.len()).sum();
    if count == 0 {
        println!("benches: the workspace has none");
        return Ok(0);
    }
    // The whole workspace in one call: by package, cargo would choose other features for the
    // dependencies than the tests did, and compile them once more.
    Cmd::cargo(&workspace.root)
        .args(["test", "--workspace", "--bench=*"])
        .envs(vars.iter().map(|(name, value)| (name, value)))
        .envs(test::variables(&workspace.root))
        .run()?;
    Ok(count)
}
