//! `test`: the models first, then every test of the workspace, with nothing left to skip.

use std::ffi::OsString;
use std::path::Path;

use anyhow::{Result, ensure};

use crate::setup::{self, Precision, Vars};
use crate::shell::Cmd;
use crate::workspace::Workspace;

/// How many tests ran, added up over all test binaries.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) ignored: usize,
}

/// `cargo xtask test`.
pub(crate) fn run(workspace: &Workspace, filters: &[String], cargo_args: &[String]) -> Result<()> {
    setup::run(workspace, Precision::All, &[])?;
    command(workspace, filters, cargo_args, &[]).run()
}

/// The same for CI: every test binary runs, whatever the ones before it did, and all of them are
/// counted, since a green run of no test is no success.
pub(crate) fn run_counted(workspace: &Workspace, vars: &Vars<'_>, counts: &mut Counts) -> Result<()> {
    setup::run(workspace, Precision::All, vars)?;
    let all = ["--no-fail-fast".to_owned()];
    command(workspace, &[], &all, vars).run_watched(|line| counts.add(line))?;
    ensure!(counts.passed > 0, "no test ran");
    Ok(())
}

fn command(workspace: &Workspace, filters: &[String], cargo_args: &[String], vars: &Vars<'_>) -> Cmd {
    Cmd::cargo(&workspace.root)
        .args(arguments(filters, cargo_args))
        .envs(vars.iter().map(|(name, value)| (name, value)))
        .envs(variables(&workspace.root))
}

/// What `cargo` is called with.
fn arguments(filters: &[String], cargo_args: &[String]) -> Vec<String> {
    let (ours, theirs) = match cargo_args.iter().position(|arg| arg == "--") {
        Some(at) => (&cargo_args[..at], &cargo_args[at + 1..]),
        None => (cargo_args, &[][..]),
    };
    let picks =
        |arg: &String| arg.starts_with("-p") || arg.starts_with("--package") || arg == "--manifest-path";
    let mut args = vec!["test".to_owned()];
    if !ours.iter().any(picks) {
        args.push("--workspace".to_owned());
    }
    args.extend_from_slice(ours);
    if !filters.is_empty() || !theirs.is_empty() {
        // Behind the dashes, since cargo itself takes one filter and the test binaries take many.
        args.push("--".to_owned());
        args.extend_from_slice(filters);
        args.extend_from_slice(theirs);
    }
    args
}

/// The variables that tests look at: one that misses its model or service fails.
pub(crate) fn variables(root: &Path) -> Vec<(&'static str, OsString)> {
    let mut vars = vec![("EMBED_REQUIRE", OsString::from("1"))];
    vars.extend(ollama_rig(root));
    vars
}

/// The script that starts real Ollama servers, where it lies beside the repository. Without it the tests
/// against them skip, and say so; with it they fail if no server comes up.
pub(crate) fn ollama_rig(root: &Path) -> Option<(&'static str, OsString)> {
    const RIG: &str = "EMBED_OLLAMA_RIG";
    let addresses = ["EMBED_OLLAMA_0_5_4", "EMBED_OLLAMA_0_9_3"];
    if std::env::var_os(RIG).is_some() || addresses.iter().all(|name| std::env::var_os(name).is_some()) {
        return None;
    }
    let script = root.join("../shared/rigs/ollama").canonicalize();
    if script.is_err() {
        println!(
            "ollama: {RIG} is not set and there is no ../shared/rigs/ollama, so the tests against real Ollama \
             servers are skipped; the ones against the double of every version run"
        );
    }
    script.ok().map(|script| (RIG, script.into()))
}

impl Counts {
    /// Adds a line such as `test result: ok. 3 passed; 0 failed; 1 ignored; …`; other lines add nothing.
    fn add(&mut self, line: &str) {
        let Some((_, rest)) = line.strip_prefix("test result: ").and_then(|rest| rest.split_once(". "))
        else {
            return;
        };
        for part in rest.split(';') {
            let Some((number, word)) = part.trim().split_once(' ') else {
                continue;
            };
            let number = number.parse().unwrap_or(0);
            match word {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(filters: &[&str], cargo_args: &[&str], expected: &str) {
        let own = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        assert_eq!(arguments(&own(filters), &own(cargo_args)).join(" "), expected);
    }

    #[test]
    fn filters_and_arguments_find_their_places() {
        check(&[], &[], "test --workspace");
        check(&["a", "b"], &[], "test --workspace -- a b");
        check(&["a"], &["--lib", "--", "--nocapture"], "test --workspace --lib -- a --nocapture");
        check(&[], &["-p", "embed-core"], "test -p embed-core");
        check(&[], &["--package=embed-core", "--doc"], "test --package=embed-core --doc");
    }

    #[test]
    fn the_results_of_all_binaries_add_up() {
        let mut counts = Counts::default();
        for line in [
            "running 3 tests",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.01s",
            "test result: FAILED. 4 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s",
        ] {
            counts.add(line);
        }
        assert_eq!(counts, Counts { passed: 7, failed: 2, ignored: 1 });
    }
}
