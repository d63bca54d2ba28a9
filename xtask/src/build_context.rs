//! Which files Docker's ignore file lets through, and whether cargo can build from these alone.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use glob::{MatchOptions, Pattern};

use crate::shell::Cmd;
use crate::workspace::Workspace;

/// As in Docker's patterns, a `*` doesn't cross folders.
const MATCHING: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: false,
};

/// Copies what the ignore file lets through to a separate folder, and runs `cargo check` for the binary there with the
/// lock file as it is. A file that a build in a container lacks is missing here, too.
pub(crate) fn check(workspace: &Workspace, ignore_file: &str) -> Result<()> {
    let root = &workspace.root;
    let ignored = Ignored::read(root, ignore_file)?;
    let context = workspace.target.join("deploy/context");
    // Files that an earlier run copied may have been removed since.
    if context.exists() {
        fs::remove_dir_all(&context).context("cannot empty target/deploy/context")?;
    }
    copy(root, &context, "", &ignored)?;
    // The target folder is shared with the workspace, so dependencies are compiled once.
    Cmd::cargo(&context)
        .args(["check", "--locked", "--package=embed-cli", "--bin=embed"])
        .envs([("CARGO_TARGET_DIR", &workspace.target)])
        .run()
        .with_context(|| format!("an image can't be built from what {ignore_file} lets through"))
}

/// The rules of an ignore file, in order: the last one that matches a path decides.
#[derive(Debug)]
struct Ignored(Vec<IgnoreRule>);

#[derive(Debug)]
struct IgnoreRule {
    pattern: Pattern,
    lets_through: bool,
}

impl Ignored {
    fn read(root: &Path, file: &str) -> Result<Self> {
        let text = fs::read_to_string(root.join(file)).with_context(|| format!("cannot read {file}"))?;
        Self::parse(&text).with_context(|| format!("{file} is no list of patterns"))
    }

    fn parse(text: &str) -> Result<Self> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let rules = lines.map(|line| {
            let (lets_through, pattern) = match line.strip_prefix('!') {
                Some(rest) => (true, rest.trim_start()),
                None => (false, line),
            };
            let pattern = Pattern::new(pattern.trim_matches('/')).with_context(|| format!("`{line}`"))?;
            Ok(IgnoreRule { pattern, lets_through })
        });
        rules.collect::<Result<_>>().map(Self)
    }

    /// Whether a path, with `/` between its parts, is excluded. A rule about a folder applies to everything in it.
    fn has(&self, path: &str) -> bool {
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        let with_folders: Vec<&str> = ends.map(|end| &path[..end]).collect();
        let fits =
            |rule: &&IgnoreRule| with_folders.iter().any(|part| rule.pattern.matches_with(part, MATCHING));
        self.0.iter().rev().find(fits).is_some_and(|rule| !rule.lets_through)
    }

    /// Whether something in an excluded folder may still be let through.
    fn may_let_through_in(&self, folder: &str) -> bool {
        let inside = format!("{folder}/");
        let exceptions = self.0.iter().filter(|rule| rule.lets_through);
        exceptions
            .map(|rule| rule.pattern.as_str())
            .any(|name| name.starts_with(&inside) || name.contains("**"))
    }
}

fn copy(from: &Path, to: &Path, folder: &str, ignored: &Ignored) -> Result<()> {
    for entry in fs::read_dir(from).with_context(|| format!("cannot list {}", from.display()))? {
        let entry = entry?;
        let name = entry.file_name().into_string().ok().context("a file name that is no UTF-8")?;
        let path = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
        let (is_folder, is_ignored) = (entry.file_type()?.is_dir(), ignored.has(&path));
        if is_folder && (!is_ignored || ignored.may_let_through_in(&path)) {
            copy(&entry.path(), &to.join(&name), &path, ignored)?;
        } else if !is_folder && !is_ignored {
            fs::create_dir_all(to).with_context(|| format!("cannot create {}", to.display()))?;
            fs::copy(entry.path(), to.join(&name)).with_context(|| format!("cannot copy {path}"))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_rule_that_fits_decides() {
        let ignored =
            Ignored::parse("# all\n*\n!Cargo.toml\n!crates\n!deploy/one.toml\n**/target\n").unwrap();
        let let_through =
            ["Cargo.toml", "crates", "crates/a/Cargo.toml", "crates/a/src/lib.rs", "deploy/one.toml"];
        for path in let_through {
            assert!(!ignored.has(path), "{path}");
        }
        for path in
            ["README.md", "benches/a/Cargo.toml", "deploy/two.toml", "target", "crates/a/target/debug/x"]
        {
            assert!(ignored.has(path), "{path}");
        }
        assert!(ignored.may_let_through_in("deploy") && !ignored.may_let_through_in("home"));
    }

    #[test]
    fn every_member_is_let_through_and_all_that_the_image_copies() {
        let workspace = Workspace::load().unwrap();
        let ignored = Ignored::read(&workspace.root, "deploy/Dockerfile.dockerignore").unwrap();
        let members = workspace.members.iter().map(|member| {
            let folder = member.folder.strip_prefix(&workspace.root).unwrap();
            format!("{}/Cargo.toml", folder.display())
        });
        let others =
            ["Cargo.toml", "Cargo.lock", "deploy/embed.toml", "deploy/healthcheck"].map(str::to_owned);
        for path in members.chain(others) {
            assert!(!ignored.has(&path) && workspace.root.join(&path).is_file(), "{path}");
        }
        for path in ["target", "home", ".git/config", "deploy/compose/secrets/api-keys", "README.md"] {
            assert!(ignored.has(path), "{path}");
        }
    }

    #[test]
    fn what_is_let_through_is_copied() {
        let scratch = std::env::temp_dir().join(format!("xtask-context-{}", std::process::id()));
        let (from, to) = (scratch.join("from"), scratch.join("to"));
        for file in
            ["Cargo.toml", "secret", "crates/a/lib.rs", "crates/a/target/x", "deploy/one", "deploy/two"]
        {
            let file = from.join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "text").unwrap();
        }
        let ignored = Ignored::parse("*\n!Cargo.toml\n!crates\n!deploy/one\n**/target\n").unwrap();
        copy(&from, &to, "", &ignored).unwrap();
        let has = |file: &str| to.join(file).exists();
        assert!(has("Cargo.toml") && has("crates/a/lib.rs") && has("deploy/one"));
        assert!(!has("secret") && !has("crates/a/target") && !has("deploy/two"));
        fs::remove_dir_all(scratch).unwrap();
    }
}
