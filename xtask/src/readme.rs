//! Runs what README.md tells its reader to type.
//!
//! The convention: in a fenced block tagged `console`, every line that starts with `$ ` is a command,
//! and CI runs it; all other lines show what is printed, and are not compared. A command may continue on
//! the next line after a `\`. Commands that CI must not run are in a block with another tag.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use crate::setup::{self, Vars};
use crate::shell::Cmd;
use crate::workspace::Workspace;

/// The commands that every reader starts with; the README must contain both.
const REQUIRED: &[&str] = &["cargo xtask quickstart", "cargo xtask test"];

/// Commands that `ci` runs in separate steps, or `ci` itself: the README may name them, and they aren't run again.
const OWN_STEPS: &[&str] = &["cargo xtask quickstart", "cargo xtask test", "cargo xtask ci"];

/// A command of the README.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Example {
    line: usize,
    command: String,
}

/// Runs the commands; returns their number.
pub(crate) fn run(workspace: &Workspace, vars: &Vars<'_>) -> Result<usize> {
    let text = fs::read_to_string(workspace.root.join("README.md")).context("cannot read README.md")?;
    let examples = examples(&text)?;
    // A reader has `embed` on the path and works in another folder. So does the command here, which keeps what it writes
    // out of the repository.
    let binary = setup::build(workspace)?;
    let scratch = workspace.target.join("readme");
    if scratch.exists() {
        fs::remove_dir_all(&scratch).context("cannot clear the folder target/readme")?;
    }
    fs::create_dir_all(&scratch).context("cannot create the folder target/readme")?;
    let path = path_with(binary.parent().context("the binary has no folder")?)?;
    let mut ran = 0;
    for Example { line, command } in &examples {
        println!("\nREADME.md:{line}");
        if OWN_STEPS.contains(&command.as_str()) {
            println!("`{command}` is a separate step");
            continue;
        }
        let folder = if command.starts_with("cargo ") { &workspace.root } else { &scratch };
        Cmd::shell(command, folder)
            .envs([("PATH", &path)])
            .envs(vars.iter().map(|(name, value)| (name, value)))
            .without_input()
            .run()
            .with_context(|| format!("README.md:{line}: the command does not work"))?;
        ran += 1;
    }
    Ok(ran)
}

/// The commands of the README, in order; an error where the convention is broken.
pub(crate) fn examples(readme: &str) -> Result<Vec<Example>> {
    let mut found: Vec<Example> = Vec::new();
    // The fence that closes the open block, and whether the block is tagged `console`.
    let mut open: Option<(&str, bool)> = None;
    let mut goes_on = false;
    for (line, text) in readme.lines().enumerate().map(|(index, text)| (index + 1, text.trim())) {
        let Some((fence, ours)) = open else {
            let fence = fence(text);
            if !fence.is_empty() {
                open = Some((fence, text[fence.len()..].trim() == "console"));
            }
            continue;
        };
        if text.starts_with(fence) && text.trim_start_matches(&fence[..1]).is_empty() {
            ensure!(!goes_on, "README.md:{line}: the block ends in the middle of a command");
            open = None;
        } else if ours {
            let (part, more) = match text.strip_suffix('\\') {
                Some(part) => (part.trim_end(), true),
                None => (text, false),
            };
            if goes_on {
                let part = part.strip_prefix("> ").unwrap_or(part);
                let example = found.last_mut().context("a command goes on that never began")?;
                example.command.push(' ');
                example.command.push_str(part);
            } else if let Some(command) = part.strip_prefix("$ ") {
                found.push(Example { line, command: command.trim().to_owned() });
            } else {
                continue;
            }
            goes_on = more;
        }
    }
    if open.is_some() {
        bail!("README.md: the last fenced block does not end");
    }
    for required in REQUIRED {
        ensure!(
            found.iter().any(|example| example.command == *required),
            "README.md: no block tagged `console` has the line `$ {required}`, with which a reader begins"
        );
    }
    Ok(found)
}

/// The backticks or tildes that open a fenced block, if the line has them.
fn fence(text: &str) -> &str {
    let rest = text.trim_start_matches('`');
    let rest = if rest.len() == text.len() { text.trim_start_matches('~') } else { rest };
    let fence = &text[..text.len() - rest.len()];
    if fence.len() >= 3 { fence } else { "" }
}

fn path_with(first: &Path) -> Result<OsString> {
    let old = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(first.to_owned()).chain(std::env::split_paths(&old));
    std::env::join_paths(folders).context("a folder in PATH has a separator in its name")
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: &str = "```console\n$ cargo xtask quickstart\n$ cargo xtask test\n```\n";

    fn check(readme: &str, expected: &[(usize, &str)]) {
        let examples = examples(&format!("{START}{readme}")).unwrap();
        let rest: Vec<_> = examples[2..].iter().map(|e| (e.line - 4, e.command.as_str())).collect();
        assert_eq!(rest, expected);
    }

    #[test]
    fn commands_are_the_dollar_lines_of_console_blocks() {
        check("text\n```console\n$ embed doctor\nall is well\n```\n", &[(3, "embed doctor")]);
        check("```sh\n$ rm -rf x\n```\n$ not in a block\n", &[]);
        check("```console title\n$ x\n```\n", &[]);
        check("~~~console\n$ embed --help\n```\n~~~\n", &[(2, "embed --help")]);
        check("- an item\n  ```console\n  $ embed doctor\n  ```\n", &[(3, "embed doctor")]);
    }

    #[test]
    fn a_fence_inside_a_longer_fence_is_text() {
        check("````text\n```console\n$ embed doctor\n```\n````\n", &[]);
    }

    #[test]
    fn a_command_goes_on_after_a_backslash() {
        let readme = "```console\n$ embed encode \\\n>   --input a \\\n    --output b\nout\n```\n";
        check(readme, &[(2, "embed encode   --input a --output b")]);
    }

    #[test]
    fn what_is_missing_or_broken_is_said() {
        let fails = |readme: &str| examples(readme).unwrap_err().to_string();
        assert!(fails("# Nothing").contains("cargo xtask quickstart"));
        assert!(fails("```console\n$ cargo xtask quickstart\n```").contains("cargo xtask test"));
        assert!(fails("```console\n$ a").contains("does not end"));
        assert!(fails("```console\n$ a \\\n```").contains("in the middle"));
    }
}
