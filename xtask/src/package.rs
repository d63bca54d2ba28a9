//! `package`: the release archive with its checksums.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::setup;
use crate::shell::Cmd;
use crate::workspace::Workspace;

/// The files that are packed with the binary.
const DOCUMENTS: &[&str] = &["LICENSE-MIT", "LICENSE-APACHE", "README.md", "CHANGELOG.md"];

/// What is left out elsewhere because it takes long to compile, which whoever unpacks an archive needn't do.
const FEATURES: &[&str] = &["embed-cli/parquet"];

/// Builds the release binary and writes `target/package/embed-<version>-<target>.tar.gz`.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    // Only here, since a program that contains its commit is compiled again for each commit. Without git it has none.
    let revision = Cmd::new("git", &workspace.root).args(["rev-parse", "--short=12", "HEAD"]).read();
    let binary = setup::build_with(
        workspace,
        FEATURES,
        &[("EMBED_REVISION".to_owned(), revision.unwrap_or_default().trim().into())],
    )?;
    let version = &workspace.member("embed-cli")?.version;
    let target = host(workspace)?;
    let name = format!("embed-{version}-{target}");

    let out = workspace.target.join("package");
    let stage = out.join(&name);
    // Files of an earlier run must not end up in this archive.
    if stage.exists() {
        fs::remove_dir_all(&stage).with_context(|| format!("cannot clear {}", workspace.shown(&stage)))?;
    }
    fs::create_dir_all(&stage).with_context(|| format!("cannot create {}", workspace.shown(&stage)))?;
    let program = binary.file_name().context("the binary has no name")?;
    copy(&binary, &stage.join(program))?;
    for document in DOCUMENTS {
        copy(&workspace.root.join(document), &stage.join(document))?;
    }
    let mut files: Vec<&str> = DOCUMENTS.to_vec();
    files.push(program.to_str().context("the name of the binary is no UTF-8")?);
    write_sums(&stage, &files)?;

    let archive = format!("{name}.tar.gz");
    Cmd::new("tar", &out).args(["-czf", &archive, &name]).run()?;
    write_sums(&out, &[&archive])?;
    fs::remove_dir_all(&stage)?;
    let bytes = fs::metadata(out.join(&archive))?.len();
    println!("package: {} ({bytes} bytes), with SHA256SUMS next to it", workspace.shown(&out.join(&archive)));
    println!(
        "package: the model and ONNX Runtime are not in it; `embed models pull` or `import` brings them"
    );
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    Ok(())
}

/// Writes SHA256SUMS for some files of a folder, in the form that `sha256sum --check` reads.
fn write_sums(folder: &Path, files: &[&str]) -> Result<()> {
    let mut sums = String::new();
    for file in files {
        let bytes = fs::read(folder.join(file)).with_context(|| format!("cannot read {file}"))?;
        sums.push_str(&sum_line(&bytes, file));
    }
    fs::write(folder.join("SHA256SUMS"), sums).context("cannot write SHA256SUMS")
}

fn sum_line(bytes: &[u8], file: &str) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{hex}  {file}\n")
}

/// The triple of this machine.
pub(crate) fn host(workspace: &Workspace) -> Result<String> {
    let rustc = Cmd::new("rustc", &workspace.root).args(["-vV"]).read()?;
    host_in(&rustc).map(str::to_owned).context("`rustc -vV` names no host")
}

/// The host triple in the output of `rustc -vV`.
fn host_in(rustc: &str) -> Option<&str> {
    rustc.lines().find_map(|line| line.strip_prefix("host: "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_read_from_rustc() {
        assert_eq!(
            host_in("rustc 1.95.0\nbinary: rustc\nhost: x86_64-unknown-linux-gnu\n"),
            Some("x86_64-unknown-linux-gnu")
        );
        assert_eq!(host_in("rustc 1.95.0"), None);
    }

    #[test]
    fn a_sum_is_in_the_form_of_sha256sum() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(sum_line(b"", "a.txt"), format!("{empty}  a.txt\n"));
    }
}
