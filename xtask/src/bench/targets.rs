//! What there is to measure, what a name on the command line means, and the programs that cargo builds for it.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::shell::Cmd;
use crate::workspace::Workspace;

/// The crate that measures rivals; it is a program, not a benchmark target.
pub(crate) const RIVALS: &str = "embed-rivals";

/// What `embed-rivals` can be asked for.
const RIVAL_PARTS: &[&str] = &["e5", "start", "detect", "ollama", "redis"];

/// A benchmark that needs a feature is silently left out by cargo if that feature is off.
pub(crate) const FEATURES: &[&str] = &["--features=embed-cache/redis"];

/// Areas of the report that don't follow from the name of a crate: what is measured for them.
const AREAS: &[(&str, &[&str])] = &[
    ("cache", &["rivals/redis"]),
    ("detection", &["router/detect", "rivals/detect"]),
    ("e5", &["rivals/e5", "rivals/start"]),
    ("gateway", &["cli/serve"]),
    ("ollama", &["rivals/ollama"]),
    ("short", &["e5/engine", "rivals/e5"]),
];

/// One thing to measure: a benchmark target of a crate, or a part of the rivals.
#[derive(Debug, Clone, PartialEq, Eq)]
struct BenchTarget {
    package: String,
    name: String,
}

/// What was chosen.
#[derive(Debug)]
pub(crate) struct Selection {
    targets: Vec<BenchTarget>,
}

/// A program that measures.
#[derive(Debug)]
pub(crate) struct Built {
    pub(crate) executable: PathBuf,
    /// Where it is started: cargo starts benchmarks in the folder of their crate.
    pub(crate) folder: PathBuf,
    /// What the rivals are asked for; each part runs by itself.
    pub(crate) part: Option<String>,
    name: String,
}

impl BenchTarget {
    /// The name by which one is chosen, such as `cache/redis`.
    fn shown(&self) -> String {
        format!("{}/{}", self.package.trim_start_matches("embed-"), self.name)
    }

    fn is(&self, name: &str) -> bool {
        let short = self.package.trim_start_matches("embed-");
        let area = AREAS.iter().find(|(area, _)| *area == name);
        [short, &self.package, &self.name, &self.shown()].contains(&name)
            || area.is_some_and(|(_, targets)| targets.contains(&self.shown().as_str()))
    }
}

impl Selection {
    /// The targets that the names choose; without names, all of them.
    pub(crate) fn new(workspace: &Workspace, names: &[String]) -> Result<Self> {
        let mut targets: Vec<BenchTarget> = Vec::new();
        for member in &workspace.members {
            let parts = if member.name == RIVALS { RIVAL_PARTS } else { &[] };
            let names = member.benches.iter().map(String::as_str).chain(parts.iter().copied());
            targets.extend(
                names.map(|name| BenchTarget { package: member.name.clone(), name: name.to_owned() }),
            );
        }
        // The rivals last, so that they don't disturb the other measurements.
        targets.sort_by_key(|target| target.package == RIVALS);
        for name in names {
            if !targets.iter().any(|target| target.is(name)) {
                let all: Vec<String> = targets.iter().map(BenchTarget::shown).collect();
                bail!("nothing to measure is called `{name}`; there are: {}", all.join(", "));
            }
        }
        targets.retain(|target| names.is_empty() || names.iter().any(|name| target.is(name)));
        Ok(Self { targets })
    }

    /// What is measured, by name.
    pub(crate) fn names(&self) -> impl Iterator<Item = String> {
        self.targets.iter().map(BenchTarget::shown)
    }

    /// Builds all of it in one call of cargo, so that no dependency is compiled twice.
    pub(crate) fn build(&self, workspace: &Workspace, profile: &str) -> Result<Vec<Built>> {
        let (rivals, benches): (Vec<_>, Vec<_>) =
            self.targets.iter().partition(|target| target.package == RIVALS);
        let mut built = Vec::new();
        if !benches.is_empty() {
            let flags = benches.iter().map(|target| format!("--bench={}", target.name));
            let lines = Cmd::cargo(&workspace.root)
                .args(["bench", "--workspace", "--no-run", "--message-format=json-render-diagnostics"])
                .args(["--profile", profile])
                .args(FEATURES)
                .args(flags)
                .announced()
                .read()?;
            let found = executables(&lines);
            for target in benches {
                let folder = &workspace.member(&target.package)?.folder;
                // Two crates may have a benchmark of the same name.
                let one = found.iter().find(|(manifest, name, _)| {
                    *name == target.name && manifest.parent() == Some(folder.as_path())
                });
                let (_, _, executable) =
                    one.with_context(|| format!("cargo built no program for {}", target.shown()))?;
                let (executable, folder) = (executable.clone(), folder.clone());
                built.push(Built { executable, folder, part: None, name: target.shown() });
            }
        }
        if !rivals.is_empty() {
            let executable = build_binary(workspace, RIVALS, profile)?;
            built.extend(rivals.into_iter().map(|target| Built {
                executable: executable.clone(),
                folder: workspace.root.clone(),
                part: Some(target.name.clone()),
                name: target.shown(),
            }));
        }
        Ok(built)
    }
}

impl Built {
    /// The name by which it was chosen.
    pub(crate) fn name(&self) -> String {
        self.name.clone()
    }
}

/// The profile of programs that are no benchmarks themselves.
pub(crate) const RELEASE: &str = "release";

/// A program of the workspace that has the name of its crate.
pub(crate) fn build_binary(workspace: &Workspace, name: &str, profile: &str) -> Result<PathBuf> {
    let lines = Cmd::cargo(&workspace.root)
        .args(["build", "--profile", profile, "--package", name, "--bin", name])
        .args(["--message-format=json-render-diagnostics"])
        .announced()
        .read()?;
    let found = executables(&lines).into_iter().find(|(_, target, _)| target == name);
    found.map(|(_, _, executable)| executable).with_context(|| format!("cargo built no program `{name}`"))
}

/// Manifest, target and program of everything that can be started, in cargo's messages.
fn executables(lines: &str) -> Vec<(PathBuf, String, PathBuf)> {
    let messages = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    messages
        .filter_map(|message| {
            let text = |value: &Value| value.as_str().map(str::to_owned);
            let executable = text(&message["executable"])?;
            Some((
                text(&message["manifest_path"])?.into(),
                text(&message["target"]["name"])?,
                executable.into(),
            ))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Member;

    fn workspace() -> Workspace {
        let member = |name: &str, benches: &[&str]| Member {
            name: name.to_owned(),
            version: "0.1.0".to_owned(),
            folder: PathBuf::from("/r").join(name),
            published: false,
            is_library: true,
            edges: Vec::new(),
            benches: benches.iter().map(|&bench| bench.to_owned()).collect(),
            features: Vec::new(),
        };
        let members = vec![
            member("embed-cache", &["memory", "redis"]),
            member("embed-gateway", &["load"]),
            member("embed-ollama", &["client", "load"]),
            member("embed-rivals", &[]),
            member("embed-router", &["detect", "router"]),
        ];
        Workspace { root: "/r".into(), target: "/r/target".into(), members }
    }

    fn check(names: &[&str], expected: &[&str]) {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let selection = Selection::new(&workspace(), &names).unwrap();
        assert_eq!(selection.names().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_name_is_an_area_a_crate_or_a_benchmark() {
        check(&["cache"], &["cache/memory", "cache/redis", "rivals/redis"]);
        check(&["redis"], &["cache/redis", "rivals/redis"]);
        check(&["load"], &["gateway/load", "ollama/load"]);
        check(&["gateway/load"], &["gateway/load"]);
        check(&["detection"], &["router/detect", "rivals/detect"]);
        check(&["ollama"], &["ollama/client", "ollama/load", "rivals/ollama"]);
        check(&["embed-router", "redis"], &["cache/redis", "router/detect", "router/router", "rivals/redis"]);
        assert_eq!(Selection::new(&workspace(), &[]).unwrap().names().count(), 12);
    }

    #[test]
    fn a_name_that_means_nothing_is_told_what_there_is() {
        let error = Selection::new(&workspace(), &["cash".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("`cash`") && error.contains("cache/memory"), "{error}");
    }

    #[test]
    fn programs_are_found_in_the_messages_of_cargo() {
        let lines = concat!(
            r#"{"reason":"compiler-artifact","manifest_path":"/r/a/Cargo.toml","target":{"name":"a"},"executable":null}"#,
            "\n",
            r#"{"reason":"compiler-artifact","manifest_path":"/r/a/Cargo.toml","target":{"name":"load"},"executable":"/t/load-1"}"#,
            "\nnoise\n",
        );
        assert_eq!(executables(lines), [("/r/a/Cargo.toml".into(), "load".to_owned(), "/t/load-1".into())]);
    }
}
