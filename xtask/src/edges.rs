//! Which crate may depend on which: the table, and the check against `cargo metadata` and `cargo tree`.
//!
//! A new edge is a decision about the architecture, so it takes a line here, which a reviewer sees.

use std::collections::BTreeSet;

use anyhow::{Result, bail};

use crate::shell::Cmd;
use crate::workspace::Workspace;

/// For each crate of the workspace the crates of the workspace that it may use, in its code and in its
/// build script. Dev-dependencies are free: a test may use any crate.
const ALLOWED: &[(&str, &[&str])] = &[
    (
        "embed",
        &[
            "embed-assets",
            "embed-cache",
            "embed-core",
            "embed-e5",
            "embed-encoder",
            "embed-gateway",
            "embed-metrics",
            "embed-minilm",
            "embed-ollama",
            "embed-openai",
            "embed-router",
            "embed-stack",
        ],
    ),
    ("embed-assets", &["embed-core", "embed-encoder", "embed-kernels"]),
    ("embed-cache", &["embed-core"]),
    (
        "embed-cli",
        &[
            "embed-assets",
            "embed-cache",
            "embed-core",
            "embed-encoder",
            "embed-gateway",
            "embed-metrics",
            "embed-ollama",
            "embed-openai",
            "embed-remote",
            "embed-router",
            "embed-stack",
        ],
    ),
    ("embed-core", &[]),
    ("embed-e5", &["embed-encoder"]),
    ("embed-encoder", &["embed-core", "embed-kernels"]),
    ("embed-gateway", &["embed-core"]),
    ("embed-gemm", &[]),
    ("embed-kernels", &["embed-gemm"]),
    ("embed-metrics", &["embed-core"]),
    ("embed-minilm", &["embed-encoder"]),
    ("embed-ollama", &["embed-core", "embed-remote"]),
    ("embed-openai", &["embed-core", "embed-remote"]),
    ("embed-python", &["embed"]),
    ("embed-remote", &["embed-core"]),
    ("embed-report", &[]),
    (
        "embed-rivals",
        &[
            "embed-core",
            "embed-encoder",
            "embed-gemm",
            "embed-ollama",
            "embed-rivals-worker",
            "embed-testkit",
        ],
    ),
    ("embed-rivals-worker", &[]),
    ("embed-router", &["embed-core"]),
    (
        "embed-stack",
        &[
            "embed-cache",
            "embed-core",
            "embed-encoder",
            "embed-gateway",
            "embed-ollama",
            "embed-openai",
            "embed-router",
        ],
    ),
    ("embed-testkit", &["embed-core"]),
    ("xtask", &[]),
];

/// What must not be anywhere in the tree of a crate with all its features: a user of `embed-core` gets no runtime, and a
/// user of a back end gets no HTTP.
const MUST_NOT_KNOW: &[(&str, &[&str])] = &[
    ("embed", &["aws-lc-rs", "clap", "native-tls", "openssl"]),
    ("embed-cache", &["axum", "hyper", "ort", "reqwest", "tokenizers"]),
    ("embed-core", &["hyper", "ort", "reqwest", "tokenizers", "tokio"]),
    ("embed-encoder", &["axum", "hyper", "reqwest"]),
    ("embed-gateway", &["fred", "ort", "reqwest", "tokenizers"]),
    ("embed-gemm", &["ort", "pulp", "tokenizers", "tokio"]),
    ("embed-kernels", &["ort", "tokenizers", "tokio"]),
    ("embed-metrics", &["axum", "fred", "hyper", "ort", "reqwest", "tokenizers", "tokio"]),
    ("embed-ollama", &["axum", "fred", "ort", "tokenizers"]),
    ("embed-openai", &["axum", "fred", "ort", "tokenizers"]),
    ("embed-python", &["aws-lc-rs", "axum", "clap", "native-tls", "openssl"]),
    ("embed-remote", &["axum", "fred", "ort", "tokenizers"]),
    ("embed-router", &["axum", "fred", "hyper", "ort", "reqwest", "tokenizers"]),
    ("embed-stack", &["aws-lc-rs", "clap", "native-tls", "openssl", "opentelemetry"]),
    ("xtask", &["axum", "hyper", "ort", "reqwest", "tokenizers", "tokio"]),
];

/// What must not be in the tree of a crate with only some of its features: turning a feature off must remove its
/// dependencies.
const LEAN: &[(&str, &str, &[&str])] = &[
    ("embed", "", &["embed-encoder", "futures", "pollster", "tokio"]),
    ("embed", "e5,minilm", &["embed-assets", "hyper", "reqwest", "rustls", "tokio"]),
    ("embed", "pull,e5,minilm", &["axum", "embed-cache", "embed-remote", "fred"]),
    ("embed", "memory,router,metrics", &["embed-encoder", "fred", "hyper", "ort", "rustls"]),
    ("embed", "settings", &["axum", "embed-assets", "embed-gateway", "fred", "tracing-subscriber"]),
    ("embed", "redis,ollama,openai,gateway", &["embed-encoder", "ort", "quick_cache", "tokenizers"]),
    ("embed-cache", "memory", &["fred", "rustls", "url"]),
    ("embed-cache", "redis", &["quick_cache", "rustls"]),
    ("embed-cache", "memory,redis-rustls", &["aws-lc-rs", "native-tls", "openssl"]),
    ("embed-cli", "redis", &["arrow-array", "parquet", "zstd-sys"]),
    ("embed-cli", "", &["fred", "opentelemetry", "opentelemetry_sdk", "tracing-opentelemetry"]),
    ("embed-cli", "otlp", &["aws-lc-rs", "native-tls", "openssl", "tonic"]),
    ("embed-ollama", "", &["hyper-rustls", "rustls"]),
    ("embed-openai", "", &["hyper-rustls", "rustls"]),
    ("embed-remote", "", &["hyper-rustls", "rustls"]),
    ("embed-router", "", &["serde_json", "tempfile"]),
    ("embed-stack", "", &["axum", "embed-assets", "embed-gateway", "fred", "tracing-subscriber"]),
];

/// Runs all checks and prints every breach.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let actual: Vec<(&str, &[String])> =
        workspace.members.iter().map(|member| (member.name.as_str(), member.edges.as_slice())).collect();
    let mut findings = compare(&actual, ALLOWED);
    for (name, banned) in MUST_NOT_KNOW {
        if !workspace.members.iter().any(|member| member.name == *name) {
            findings.push(format!("`{name}` is no crate of the workspace: take it out of MUST_NOT_KNOW"));
            continue;
        }
        findings.extend(banned_in(workspace, name, &["--all-features"], banned)?);
    }
    for (name, features, banned) in LEAN {
        let features = ["--no-default-features", "--features", features];
        findings.extend(banned_in(workspace, name, &features, banned)?);
    }
    if findings.is_empty() {
        let edges: usize = actual.iter().map(|(_, edges)| edges.len()).sum();
        println!("edges: {} crates, {edges} edges, all as in the table", actual.len());
        return Ok(());
    }
    for finding in &findings {
        println!("edges: {finding}");
    }
    bail!("{} breaches of the edges between crates; the tables are in xtask/src/edges.rs", findings.len())
}

/// Which banned crates are in the tree of a crate with some features, as a sentence each.
fn banned_in(workspace: &Workspace, name: &str, features: &[&str], banned: &[&str]) -> Result<Vec<String>> {
    let tree = Cmd::cargo(&workspace.root)
        .args(["tree", "--package", name, "--edges=normal", "--target=all"])
        .args(features)
        .args(["--prefix=none", "--format={p}"])
        .read()?;
    let features = features.join(" ");
    let sentence = |found: &str| {
        format!(
            "`{name}` must not know `{found}`, but its tree holds it; `cargo tree -p {name} -e normal {features} \
             --target all -i {found}` shows by which way"
        )
    };
    Ok(known(&tree, banned).into_iter().map(sentence).collect())
}

/// Every difference between the actual and the allowed edges, as a sentence each.
fn compare(actual: &[(&str, &[String])], allowed: &[(&str, &[&str])]) -> Vec<String> {
    let mut findings = Vec::new();
    for (name, edges) in actual {
        let Some((_, may)) = allowed.iter().find(|(crate_name, _)| crate_name == name) else {
            findings.push(format!("the crate `{name}` is new: give it a line in ALLOWED"));
            continue;
        };
        for edge in edges.iter().filter(|edge| !may.contains(&edge.as_str())) {
            findings.push(format!(
                "`{name}` depends on `{edge}`, which is a new edge: drop it, or, if the design is to \
                 change, allow it in ALLOWED and tell ARCHITECTURE.md"
            ));
        }
        for stale in may.iter().filter(|edge| !edges.iter().any(|is| is == *edge)) {
            findings.push(format!(
                "`{name}` does not depend on `{stale}` any more: take it out of its line in ALLOWED"
            ));
        }
    }
    let stale_crates = allowed.iter().filter(|(name, _)| !actual.iter().any(|(is, _)| is == name));
    findings.extend(stale_crates.map(|(name, _)| {
        format!("`{name}` is no crate of the workspace any more: take its line out of ALLOWED")
    }));
    findings
}

/// The banned packages that the output of `cargo tree --prefix none --format {p}` names.
fn known<'b>(tree: &str, banned: &[&'b str]) -> Vec<&'b str> {
    let packages: BTreeSet<&str> = tree.lines().filter_map(|line| line.split_whitespace().next()).collect();
    banned.iter().copied().filter(|name| packages.contains(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(actual: &[(&str, &[&str])], allowed: &[(&str, &[&str])], expected: &[&str]) {
        let owned: Vec<(&str, Vec<String>)> = actual
            .iter()
            .map(|(name, edges)| (*name, edges.iter().map(|&edge| edge.to_owned()).collect()))
            .collect();
        let borrowed: Vec<(&str, &[String])> =
            owned.iter().map(|(name, edges)| (*name, edges.as_slice())).collect();
        let findings = compare(&borrowed, allowed);
        assert_eq!(findings.len(), expected.len(), "{findings:?}");
        for (finding, start) in findings.iter().zip(expected) {
            assert!(finding.starts_with(start), "{finding:?} does not start with {start:?}");
        }
    }

    #[test]
    fn the_same_edges_are_fine() {
        check(&[("a", &["b"]), ("b", &[])], &[("b", &[]), ("a", &["b"])], &[]);
    }

    #[test]
    fn a_new_edge_fails() {
        check(&[("a", &["b"]), ("b", &[])], &[("a", &[]), ("b", &[])], &["`a` depends on `b`"]);
    }

    #[test]
    fn a_stale_edge_fails() {
        check(&[("a", &[]), ("b", &[])], &[("a", &["b"]), ("b", &[])], &["`a` does not depend on `b`"]);
    }

    #[test]
    fn a_crate_that_came_or_went_fails() {
        check(&[("a", &[])], &[("b", &[])], &["the crate `a` is new", "`b` is no crate"]);
    }

    #[test]
    fn a_banned_package_is_found_by_its_whole_name() {
        let tree = "embed-core v0.1.0 (/r)\nort-sys v2.0.0\ntokio v1.53.2 (*)\n\nserde v1.0.0\n";
        assert_eq!(known(tree, &["ort", "tokio", "serde_json"]), ["tokio"]);
    }
}
