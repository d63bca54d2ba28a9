//! `test`: what the tests need first, then every test of the workspace, and one summary of all of it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};

use crate::needs::{self, FoundParts, Need};
use crate::setup::{self, BuildProfile, PrecisionChoice, Vars};
use crate::shell::{Cmd, is_on};
use crate::workspace::Workspace;

/// How many tests ran, added up over all test programs.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TestCounts {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    /// Left out, as a whole or in part.
    pub(crate) skipped: usize,
}

/// `cargo xtask test`, and the step of CI: every test program runs, even if one before it failed. Returns how many tests
/// ran, and whether all passed.
pub(crate) fn run(
    workspace: &Workspace,
    filters: &[String],
    cargo_args: &[String],
    vars: &Vars<'_>,
) -> Result<(TestCounts, Result<()>)> {
    let models = setup::run(workspace, BuildProfile::Quick, PrecisionChoice::All, vars);
    // If nothing can be fetched, the tests that need no model are still useful.
    if let Err(error) = &models {
        if is_on("CI") {
            bail!("the models are not there: {error:#}");
        }
        println!("\nthe models are not there, and their tests are left out: {error:#}");
    }
    let found = FoundParts::look(&workspace.root, models.is_ok());
    found.print();

    let notes = workspace.target.join("tests-left-out");
    fs::write(&notes, "").with_context(|| format!("cannot write {}", workspace.shown(&notes)))?;
    let mut seen = TestOutput::default();
    let ended = Cmd::cargo(&workspace.root)
        .args(arguments(filters, cargo_args))
        .envs(vars.iter().map(|(name, value)| (name, value)))
        .envs(variables(&workspace.root, &found))
        .envs([("EMBED_LEFT_OUT", &notes)])
        .run_watched(|line| seen.add(line));
    let notes = fs::read_to_string(&notes).context("cannot read which tests were left out")?;
    let (counts, lines) = summary(&seen, &notes);
    for line in lines {
        println!("{line}");
    }
    println!("\n{counts}");
    let all_is_well = match ended {
        _ if counts.failed > 0 => Err(anyhow!("{} tests failed; their names are above", counts.failed)),
        Err(error) => {
            Err(error.context("the code doesn't compile, or a test program ended in the middle of its tests"))
        }
        // A run without any test isn't a success.
        Ok(()) if filters.is_empty() && cargo_args.is_empty() && counts.passed == 0 => {
            Err(anyhow!("no test ran"))
        }
        Ok(()) => Ok(()),
    };
    Ok((counts, all_is_well))
}

/// What `cargo` is called with.
fn arguments(filters: &[String], cargo_args: &[String]) -> Vec<String> {
    let (ours, theirs) = match cargo_args.iter().position(|arg| arg == "--") {
        Some(at) => (&cargo_args[..at], &cargo_args[at + 1..]),
        None => (cargo_args, &[][..]),
    };
    let picks =
        |arg: &String| arg.starts_with("-p") || arg.starts_with("--package") || arg == "--manifest-path";
    let mut args = vec!["test".to_owned(), "--no-fail-fast".to_owned()];
    if !ours.iter().any(picks) {
        args.push("--workspace".to_owned());
    }
    args.extend(ours.iter().filter(|arg| *arg != "--no-fail-fast").cloned());
    if !filters.is_empty() || !theirs.is_empty() {
        // Behind `--`, since cargo takes one filter and the test programs take many.
        args.push("--".to_owned());
        args.extend_from_slice(filters);
        args.extend_from_slice(theirs);
    }
    args
}

/// The variables for tests: what is there must work. EMBED_REQUIRE of the user wins.
pub(crate) fn variables(root: &Path, found: &FoundParts) -> Vec<(&'static str, OsString)> {
    let mut vars: Vec<(&'static str, OsString)> = needs::ollama_rig(root).into_iter().collect();
    if std::env::var_os("EMBED_REQUIRE").is_none() {
        vars.push(("EMBED_REQUIRE", found.required().into()));
    }
    vars
}

/// The results of the test programs.
#[derive(Debug, Default)]
struct TestOutput {
    passed: usize,
    ignored: usize,
    /// Names of tests.
    failed: Vec<String>,
    failures: usize,
}

impl TestOutput {
    /// Takes a line such as `test result: ok. 3 passed; 0 failed; 1 ignored; …`, or `test name ... FAILED`.
    fn add(&mut self, line: &str) {
        if let Some(name) = line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED")) {
            self.failed.push(name.to_owned());
            return;
        }
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
                "failed" => self.failures += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }
}

/// Adds up, and prints which tests failed, and which were left out and why. `notes` are the lines that
/// `embed_testkit::require` writes. The harness reports a test that was left out as passed; here it isn't counted as
/// passed.
fn summary(seen: &TestOutput, notes: &str) -> (TestCounts, Vec<String>) {
    // The tests by part, with one reason for each part.
    let mut parts: BTreeMap<&str, (&str, Vec<String>)> = BTreeMap::new();
    let mut left_out = Vec::new();
    for note in notes.lines() {
        let mut words = note.splitn(4, '\t');
        let (Some(part), Some(program), Some(test)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        let named = (program.to_owned(), test.to_owned());
        let reason = words.next().unwrap_or_default();
        let (_, tests) = parts.entry(part).or_insert((reason, Vec::new()));
        let shown = test.to_owned();
        if !tests.contains(&shown) {
            tests.push(shown);
        }
        // A test that failed anyway is counted as failed.
        if !left_out.contains(&named) && !seen.failed.iter().any(|failed| failed == test) {
            left_out.push(named);
        }
    }
    let mut lines = vec!["\n== summary of the tests".to_owned()];
    for name in &seen.failed {
        lines.push(format!("FAILED    {name}"));
    }
    for (part, (reason, tests)) in &parts {
        lines.push(format!("LEFT OUT  for lack of {part}, {} tests: {reason}", tests.len()));
        if let Some(need) = Need::named(part) {
            lines.push(format!("          what brings it: {}", need.command));
        }
        lines.extend(tests.iter().map(|test| format!("          - {test}")));
    }
    let counts = TestCounts {
        passed: seen.passed.saturating_sub(left_out.len()),
        failed: seen.failures,
        skipped: seen.ignored + left_out.len(),
    };
    (counts, lines)
}

impl std::fmt::Display for TestCounts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(filters: &[&str], cargo_args: &[&str], expected: &str) {
        let owned = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        assert_eq!(arguments(&owned(filters), &owned(cargo_args)).join(" "), expected);
    }

    #[test]
    fn filters_and_arguments_find_their_places() {
        check(&[], &[], "test --no-fail-fast --workspace");
        check(&["a", "b"], &[], "test --no-fail-fast --workspace -- a b");
        check(
            &["a"],
            &["--lib", "--", "--nocapture"],
            "test --no-fail-fast --workspace --lib -- a --nocapture",
        );
        check(&[], &["-p", "embed-core"], "test --no-fail-fast -p embed-core");
        check(
            &[],
            &["--package=embed-core", "--doc", "--no-fail-fast"],
            "test --no-fail-fast --package=embed-core --doc",
        );
    }

    fn seen(lines: &[&str]) -> TestOutput {
        let mut seen = TestOutput::default();
        lines.iter().for_each(|line| seen.add(line));
        seen
    }

    #[test]
    fn the_results_of_all_programs_add_up() {
        let seen = seen(&[
            "running 3 tests",
            "test redis::one ... ok",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.01s",
            "test two::fails ... FAILED",
            "test result: FAILED. 4 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s",
        ]);
        let (counts, lines) = summary(&seen, "");
        assert_eq!(counts, TestCounts { passed: 7, failed: 1, skipped: 1 });
        assert_eq!(lines[1..], ["FAILED    two::fails"]);
        assert_eq!(counts.to_string(), "7 passed, 1 failed, 1 skipped");
    }

    #[test]
    fn what_was_left_out_is_not_counted_as_passed_and_its_need_is_named() {
        let seen = seen(&[
            "test c ... FAILED",
            "test result: FAILED. 5 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s",
        ]);
        // `a` in two programs, twice in one of them for two parts; `c` failed although some of it was left out.
        let notes = "redis-server\tx-1\ta\tgone\nopenssl\tx-1\ta\tgone\nredis-server\ty-1\ta\tgone\nredis-server\tx-1\tc\tgone\n";
        let (counts, lines) = summary(&seen, notes);
        assert_eq!(counts, TestCounts { passed: 3, failed: 1, skipped: 2 });
        let text = lines.join("\n");
        assert!(text.contains("LEFT OUT  for lack of redis-server, 2 tests: gone"), "{text}");
        assert!(text.contains("what brings it: apt-get install redis-server"), "{text}");
    }
}
