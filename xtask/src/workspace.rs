//! What `cargo metadata` says about the workspace, reduced to what the commands need.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::shell::Cmd;

/// The workspace that this program was built in.
#[derive(Debug)]
pub(crate) struct Workspace {
    /// The folder of the root manifest.
    pub(crate) root: PathBuf,
    /// Where cargo builds.
    pub(crate) target: PathBuf,
    /// The members, by name.
    pub(crate) members: Vec<Member>,
}

/// One crate of the workspace.
#[derive(Debug)]
pub(crate) struct Member {
    /// The name of the package.
    pub(crate) name: String,
    /// Its version.
    pub(crate) version: String,
    /// Its folder.
    pub(crate) folder: PathBuf,
    /// Whether it may go to crates.io.
    pub(crate) published: bool,
    /// Whether it has a library.
    pub(crate) is_library: bool,
    /// Other members that it names as normal or build dependencies, optional ones included.
    pub(crate) edges: Vec<String>,
    /// The names of its benchmark targets.
    pub(crate) benches: Vec<String>,
    /// The features that it declares.
    pub(crate) features: Vec<String>,
}

impl Workspace {
    /// Asks cargo.
    pub(crate) fn load() -> Result<Self> {
        // `cargo run` sets the variable; the constant is for a binary that is started by hand.
        let manifest =
            std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        let here = Path::new(&manifest);
        let root = here.parent().context("the folder of xtask has no parent")?;
        let json = Cmd::cargo(root).args(["metadata", "--format-version=1", "--no-deps"]).read()?;
        let metadata = serde_json::from_str(&json).context("`cargo metadata` wrote no JSON")?;
        Self::from_metadata(&metadata)
    }

    /// Reads the answer of `cargo metadata --no-deps`.
    pub(crate) fn from_metadata(metadata: &Value) -> Result<Self> {
        let root = PathBuf::from(text(metadata, "workspace_root")?);
        let target = PathBuf::from(text(metadata, "target_directory")?);
        let packages = metadata["packages"].as_array().context("`cargo metadata` lists no packages")?;
        let mut members = packages.iter().map(Member::from_package).collect::<Result<Vec<_>>>()?;
        members.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Self { root, target, members })
    }

    /// The member of that name.
    pub(crate) fn member(&self, name: &str) -> Result<&Member> {
        let found = self.members.iter().find(|member| member.name == name);
        found.with_context(|| format!("the workspace has no crate `{name}`"))
    }

    /// A path as a person would write it: from the root of the repository.
    pub(crate) fn shown<'p>(&self, path: &'p Path) -> std::path::Display<'p> {
        path.strip_prefix(&self.root).unwrap_or(path).display()
    }
}

impl Member {
    fn from_package(package: &Value) -> Result<Self> {
        let manifest = Path::new(text(package, "manifest_path")?);
        let folder = manifest.parent().context("a manifest without a folder")?.to_owned();
        let dependencies = package["dependencies"].as_array().context("a package without dependencies")?;
        let mut edges: Vec<String> = dependencies
            .iter()
            // Only a dependency inside the workspace has a path. A test may use any crate, so the kind `dev` is left
            // out.
            .filter(|dependency| dependency["path"].is_string() && dependency["kind"] != "dev")
            .filter_map(|dependency| dependency["name"].as_str().map(str::to_owned))
            .collect();
        edges.sort();
        edges.dedup();
        let targets = package["targets"].as_array().context("a package without targets")?;
        let is = |target: &Value, kind: &str| {
            target["kind"].as_array().is_some_and(|kinds| kinds.iter().any(|one| one == kind))
        };
        let benches = targets
            .iter()
            .filter(|target| is(target, "bench"))
            .filter_map(|target| target["name"].as_str().map(str::to_owned))
            .collect();
        let features = package["features"].as_object().context("a package without features")?;
        Ok(Self {
            name: text(package, "name")?.to_owned(),
            version: text(package, "version")?.to_owned(),
            folder,
            published: package["publish"].is_null(),
            is_library: targets.iter().any(|target| is(target, "lib")),
            edges,
            benches,
            features: features.keys().cloned().collect(),
        })
    }
}

fn text<'v>(value: &'v Value, key: &str) -> Result<&'v str> {
    value[key].as_str().with_context(|| format!("`cargo metadata` has no text `{key}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_are_the_normal_and_build_dependencies_with_a_path() {
        let metadata = serde_json::json!({
            "workspace_root": "/r", "target_directory": "/r/target",
            "packages": [{
                "name": "b", "version": "0.1.0", "manifest_path": "/r/crates/b/Cargo.toml",
                "features": {"default": []},
                "targets": [
                    {"kind": ["lib"], "name": "b"},
                    {"kind": ["bench"], "name": "speed"},
                ],
                "dependencies": [
                    {"name": "core", "path": "/r/crates/core", "kind": null},
                    {"name": "core", "path": "/r/crates/core", "kind": "build"},
                    {"name": "maker", "path": "/r/crates/maker", "kind": "build"},
                    {"name": "testkit", "path": "/r/crates/testkit", "kind": "dev"},
                    {"name": "serde", "kind": null},
                ],
            }],
        });
        let workspace = Workspace::from_metadata(&metadata).unwrap();
        let member = workspace.member("b").unwrap();
        assert!(member.published && member.is_library);
        assert_eq!(member.edges, ["core", "maker"]);
        assert_eq!(member.benches, ["speed"]);
        assert_eq!(member.features, ["default"]);
        assert_eq!(member.folder, Path::new("/r/crates/b"));
        assert_eq!(workspace.shown(Path::new("/r/crates/b/x.rs")).to_string(), "crates/b/x.rs");
    }
}
