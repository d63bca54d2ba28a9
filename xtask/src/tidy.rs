//! Reads the files of the repository and applies the rules of `tidy_rules`.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::needs::Need;
use crate::readme;
use crate::shell::Cmd;
use crate::tidy_rules::{self as rules, RuleBreach};
use crate::workspace::Workspace;

/// Checks every file that git tracks or would track, and every crate.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let root = &workspace.root;
    let mut findings = Vec::new();
    let files = files(root)?;
    for path in files.iter().filter(|path| path.ends_with(".rs")) {
        let text = fs::read_to_string(root.join(path)).with_context(|| format!("cannot read {path}"))?;
        findings.extend(rules::rust_file(path, &text));
        findings.extend(rules::timed_test(path, &text));
        findings.extend(rules::unknown_part(path, &text, |part| Need::named(part).is_some()));
    }
    let architecture = document(root, "ARCHITECTURE.md", &mut findings)?;
    let changelog = document(root, "CHANGELOG.md", &mut findings)?;
    for member in &workspace.members {
        let manifest = member.folder.join("Cargo.toml");
        let shown = workspace.shown(&manifest).to_string();
        findings.extend(rules::manifest(&shown, &fs::read_to_string(&manifest)?));
        let readme = member.folder.join("README.md");
        document(root, &workspace.shown(&readme).to_string(), &mut findings)?;
        if let Some(text) = &architecture {
            findings.extend(rules::architecture("ARCHITECTURE.md", text, &member.name));
        }
    }
    if let Some(text) = &changelog {
        findings.extend(rules::changelog("CHANGELOG.md", text, &workspace.member("embed-core")?.version));
    }
    if let Some(text) = document(root, "README.md", &mut findings)?
        // CI runs the commands last; whether they can be parsed is checked now.
        && let Err(error) = readme::examples(&text)
    {
        findings.push(RuleBreach {
            path: "README.md".into(),
            line: 1,
            message: format!("{error:#}").trim_start_matches("README.md: ").to_owned(),
        });
    }
    if findings.is_empty() {
        println!("tidy: {} files and {} crates, nothing to fix", files.len(), workspace.members.len());
        return Ok(());
    }
    for finding in &findings {
        println!("{finding}");
    }
    bail!("tidy: {} findings; the rules are in xtask/src/tidy_rules.rs", findings.len())
}

/// The files that git tracks, and those that it would track, so that the check is useful before `git add`.
fn files(root: &Path) -> Result<Vec<String>> {
    let listed = Cmd::new("git", root)
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate"])
        .read()
        .context("tidy asks git which files belong to the repository")?;
    // A file that is deleted but not yet committed is still listed.
    let there = |path: &&str| !path.is_empty() && root.join(path).symlink_metadata().is_ok();
    Ok(listed.split('\0').filter(there).map(str::to_owned).collect())
}

/// The text of a file that must be there.
fn document(root: &Path, path: &str, findings: &mut Vec<RuleBreach>) -> Result<Option<String>> {
    match fs::read_to_string(root.join(path)) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            findings.push(RuleBreach {
                path: path.to_owned(),
                line: 1,
                message: "the file is missing: write it".into(),
            });
            Ok(None)
        }
        Err(error) => Err(error).with_context(|| format!("cannot read {path}")),
    }
}
