//! `drill`: the outage drill, which is a test program of `embed-cli`, and the table of docs/reliability.md.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::needs::FoundParts;
use crate::setup::{self, BuildProfile, PrecisionChoice};
use crate::shell::Cmd;
use crate::test;
use crate::workspace::Workspace;

const PAGE: &str = "docs/reliability.md";
const BEGIN: &str = "<!-- table of the drill -->\n";
const END: &str = "<!-- end of the table -->\n";
const HEAD: &str = "| scene | times | answers | refusals | wrong rows | seconds until recovery, at most | MB | descriptors | threads |\n\
                    |---|---|---|---|---|---|---|---|---|\n";

/// Arguments of `cargo xtask drill`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Repeat the scenes for half an hour, with bounds on memory, descriptors and threads.
    #[arg(long)]
    long: bool,
    /// How long that is, in minutes.
    #[arg(long, value_name = "N", default_value_t = 30, requires = "long")]
    minutes: u64,
    /// Play only scenes whose tests have this in their names.
    #[arg(long, value_name = "NAME")]
    scene: Option<String>,
    /// Build in release mode.
    #[arg(long)]
    release: bool,
    /// Write the table into docs/reliability.md.
    #[arg(long, conflicts_with = "scene")]
    page: bool,
}

/// Plays the scenes and prints their table. Fails if a test fails.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let root = &workspace.root;
    let build = if options.release { BuildProfile::Release } else { BuildProfile::Quick };
    setup::run(workspace, build, PrecisionChoice::Int8, &[])?;
    let found = FoundParts::look(root, true);
    let table = workspace.target.join("drill.tsv");
    fs::write(&table, "").with_context(|| format!("cannot write {}", workspace.shown(&table)))?;
    let program = |args: &[&str]| {
        let profile = options.release.then_some("--release");
        let filter = options.scene.iter().map(String::as_str);
        Cmd::cargo(root)
            .args(["test", "--package=embed-cli", "--test=drill"])
            .args(profile)
            .args(["--"])
            .args(filter)
            .args(args)
    };
    let scenes = program(&["--list"]).read()?.lines().filter(|line| line.ends_with(": test")).count();
    ensure!(scenes > 0, "there is no such scene; without --scene, all are played");
    let seconds = options.long.then(|| (options.minutes * 60 / scenes as u64).to_string());
    let ended = program(&["--nocapture"])
        .envs(test::variables(root, &found))
        .envs([("EMBED_DRILL_TABLE", &table)])
        .envs(seconds.map(|seconds| ("EMBED_DRILL_SECONDS", seconds)))
        .run();
    let rows = rows(&fs::read_to_string(&table).context("cannot read the table of the drill")?);
    println!("\n{HEAD}{rows}");
    ended.context("a scene failed; docs/reliability.md says what each one does")?;
    if options.page {
        let kind =
            if options.long { format!("{} minutes", options.minutes) } else { "each scene once".into() };
        let text = format!("On {}, profile `{}`, {kind}:\n\n{HEAD}{rows}", machine(), build.profile());
        write(root, &text)?;
        println!("{PAGE} is written");
    }
    Ok(())
}

/// Lines of a table, from values with tabs between them.
fn rows(values: &str) -> String {
    let mut rows: Vec<&str> = values.lines().collect();
    rows.sort_unstable_by_key(|row| row.to_lowercase());
    rows.iter().fold(String::new(), |mut text, row| {
        // Writing to a String doesn't fail.
        let _ = writeln!(text, "| {} |", row.replace('\t', " | "));
        text
    })
}

fn write(root: &Path, table: &str) -> Result<()> {
    let page = fs::read_to_string(root.join(PAGE)).with_context(|| format!("cannot read {PAGE}"))?;
    let page = with_table(&page, table).with_context(|| format!("{PAGE} has lost the marks of its table"))?;
    fs::write(root.join(PAGE), page).with_context(|| format!("cannot write {PAGE}"))
}

/// The page with the table between its marks replaced.
fn with_table(page: &str, table: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}{table}{END}{after}"))
}

/// The number and kind of processors.
fn machine() -> String {
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    format!("{count} processors ({})", name.map_or("of a kind that isn't known", |(_, name)| name.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_gets_another_table_between_its_marks() {
        let page = format!("before\n{BEGIN}old\n{END}after\n");
        assert_eq!(with_table(&page, "new\n").unwrap(), format!("before\n{BEGIN}new\n{END}after\n"));
        assert!(with_table("no marks", "new").is_none());
    }

    #[test]
    fn values_become_rows_in_the_order_of_their_names() {
        assert_eq!(rows("b\t1\nA\tnone\n"), "| A | none |\n| b | 1 |\n");
    }
}
