//! The public API of each library that is published, compared with what `docs/api` says it is: whoever changes it changes a
//! file, and a reviewer sees that.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, Result, bail};

use crate::shell::{Cmd, is_on};
use crate::workspace::{Member, Workspace};

/// Writes the files anew instead of comparing.
const BLESS: &str = "EMBED_BLESS";

/// Compares, or writes; gives back how many libraries there are.
pub(crate) fn run(workspace: &Workspace) -> Result<usize> {
    // The features are those of `cargo xtask ci --only doc`, so that nothing but the documentation is built again.
    Cmd::cargo(&workspace.root)
        .args(["doc", "--workspace", "--no-deps", "--quiet"])
        .envs([("RUSTDOC", workspace.root.join("xtask/api/rustdoc.sh"))])
        // Cargo tells by them, and not by the program, that the JSON isn't there yet.
        .envs([("RUSTDOCFLAGS", "-Z unstable-options --output-format json")])
        .run()?;
    let libraries: Vec<_> =
        workspace.members.iter().filter(|member| member.published && member.is_library).collect();
    let folder = workspace.root.join("docs/api");
    fs::create_dir_all(&folder)?;
    let mut changed = 0;
    for member in &libraries {
        let file = folder.join(format!("{}.txt", member.name));
        let now = listing(workspace, member)?;
        if is_on(BLESS) {
            fs::write(&file, &now).with_context(|| format!("cannot write {}", workspace.shown(&file)))?;
            continue;
        }
        let recorded = fs::read_to_string(&file).unwrap_or_default();
        if recorded != now {
            changed += 1;
            println!("{} is another API than that of `{}`:", workspace.shown(&file), member.name);
            differences(&recorded, &now).iter().for_each(|line| println!("  {line}"));
        }
    }
    if changed > 0 {
        bail!(
            "the API of {changed} libraries isn't the recorded one; if it is meant to change, `{BLESS}=1 cargo xtask ci \
             --only api` writes it down, and CHANGELOG.md says what callers do"
        );
    }
    Ok(libraries.len())
}

fn listing(workspace: &Workspace, member: &Member) -> Result<String> {
    let json = workspace.target.join("doc").join(format!("{}.json", member.name.replace('-', "_")));
    Cmd::cargo(&workspace.root)
        .args(["run", "--quiet", "--locked", "--manifest-path", "xtask/api/Cargo.toml", "--"])
        .args([json])
        .envs([("CARGO_TARGET_DIR", workspace.target.join("api"))])
        .read()
}

/// The lines that only one of them has.
fn differences(recorded: &str, now: &str) -> Vec<String> {
    let (old, new): (BTreeSet<&str>, BTreeSet<&str>) = (recorded.lines().collect(), now.lines().collect());
    let gone = old.difference(&new).map(|line| format!("- {line}"));
    gone.chain(new.difference(&old).map(|line| format!("+ {line}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_and_what_is_new_is_said() {
        assert_eq!(differences("a\nb\nc\n", "c\na\nd\n"), ["- b", "+ d"]);
        assert!(differences("a\n", "a\n").is_empty());
    }
}
