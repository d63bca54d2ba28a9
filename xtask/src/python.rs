//! The step `python`: the wheel of `embed-python` is built, installed where nothing else is, and tested there.
//!
//! The step `cluster` runs it on clusters of Ray and Spark that are started on this machine.
//!
//! `cargo xtask wheel` builds the wheel of a release, which runs on old systems, too.
//!
//! All need Python 3 with `venv`, and PyPI. On a developer's machine without them a step is left out with a message; in CI
//! that is an error.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::package::host;
use crate::setup::{self, BuildProfile, PrecisionChoice, Vars};
use crate::shell::{Cmd, is_on, on_the_path};
use crate::workspace::Workspace;

const CRATE: &str = "crates/embed-python";
/// What builds the wheel, as pyproject.toml has it.
const MATURIN: &str = "maturin>=1.9.4,<2";
/// What compiles and links for a glibc that is older than this machine's, and what checks it.
const FOR_OLD_SYSTEMS: [&str; 3] = ["ziglang==0.17.*", "cargo-zigbuild==0.24.*", "auditwheel==6.*"];
/// The minor version of glibc 2 that the wheel of a release needs, of 2018.
const GLIBC: u32 = 28;
/// The most bytes of the wheel of a release.
const MOST_BYTES: u64 = 30_000_000;
/// Where the command lies in the package.
const COMMAND: &str = "python/embed/bin";

/// Runs everything; returns the text for the table of CI.
pub(crate) fn run(workspace: &Workspace, vars: &Vars<'_>) -> Result<String> {
    let folder = workspace.target.join("python");
    fs::create_dir_all(&folder).context("cannot create the folder target/python")?;
    let requirements = &["--requirement", "tests/requirements.txt"];
    let Some(tools) = or_left_out("python", tools(workspace, &folder.join("tools"), requirements))? else {
        return Ok(LEFT_OUT.to_owned());
    };
    let command = setup::run(workspace, BuildProfile::Quick, PrecisionChoice::All, vars)?;
    let wheel = build(workspace, &tools, &command, (&folder.join("wheels"), &["--profile", "dev"]))?;

    // Where only the wheel and its dependencies are, the lines of the README work.
    let clean = folder.join("clean");
    let clean = environment(workspace, &clean, true)?;
    clean.pip(workspace, &[&wheel])?;
    let lines = first_lines(&fs::read_to_string(workspace.root.join("README.md"))?)?;
    clean.python(workspace).args(["-c", &lines]).envs(each(vars)).run()?;
    clean
        .program(workspace, "embed")
        .args(["encode", "--format", "table", "富士山"])
        .envs(each(vars))
        .run()?;

    tools.install_again(workspace, &wheel)?;
    let summary = tools.test(workspace, vars, &["tests", "--ignore=tests/cluster"], &command)?;
    let tests = workspace.root.join(CRATE);
    tools.python_in(&tests).args(["-m", "mypy", "--strict", "python", "tests"]).run()?;
    match on_the_path("node") {
        true => {
            let interpreter = tools.interpreter();
            tools.python_in(&tests).args(["-m", "pyright", "--pythonpath"]).args([interpreter]).run()?;
        }
        false if is_on("CI") => bail!("pyright needs Node.js, which `.ci/run --tools-only` installs"),
        false => println!("python: without pyright, which needs Node.js"),
    }
    Ok(summary)
}

/// The wheel on a cluster of Ray with two nodes and one of Spark with two workers; returns the text for the table of CI.
pub(crate) fn run_clusters(workspace: &Workspace, vars: &Vars<'_>) -> Result<String> {
    let folder = workspace.target.join("python");
    fs::create_dir_all(&folder).context("cannot create the folder target/python")?;
    let requirements = &["--requirement", "tests/cluster/requirements.txt"];
    let found = match on_the_path("java") {
        true => tools(workspace, &folder.join("cluster"), requirements),
        false => Err(anyhow!("Spark needs Java; `apt-get install default-jre-headless` installs it")),
    };
    let Some(tools) = or_left_out("cluster", found)? else { return Ok(LEFT_OUT.to_owned()) };
    let command = setup::run(workspace, BuildProfile::Quick, PrecisionChoice::All, vars)?;
    let wheel = build(workspace, &tools, &command, (&folder.join("wheels"), &["--profile", "dev"]))?;
    tools.install_again(workspace, &wheel)?;
    tools.test(workspace, vars, &["tests/cluster"], &command)
}

/// Builds the wheel of a release into `target/package`; on Linux with any glibc since 2.28, whatever this machine has.
pub(crate) fn release(workspace: &Workspace) -> Result<()> {
    let (package, folder) = (workspace.target.join("package"), workspace.target.join("python"));
    for needed in [&package, &folder] {
        fs::create_dir_all(needed).with_context(|| format!("cannot create {}", workspace.shown(needed)))?;
    }
    let tools = environment(workspace, &folder.join("release"), false)?;
    tools.pip(workspace, &["--upgrade", "pip>=25", MATURIN])?;
    if !cfg!(all(target_os = "linux", target_env = "gnu")) {
        let command = setup::build(workspace)?;
        let wheel = build(workspace, &tools, &command, (&package, &["--release"]))?;
        println!("wheel: {}", workspace.shown(&wheel));
        return Ok(());
    }
    tools.pip(workspace, &FOR_OLD_SYSTEMS)?;
    let host = host(workspace)?;
    tools
        .program_in(&workspace.root, "cargo-zigbuild")
        .args(["zigbuild", "--release", "--locked", "--package=embed-cli", "--bin=embed", "--target"])
        .args([format!("{host}.2.{GLIBC}")])
        .envs([("CARGO_TARGET_DIR", workspace.target.clone()), tools.zig()])
        .run()?;
    let command = workspace.target.join(&host).join("release/embed");
    let tag = format!("manylinux_2_{GLIBC}");
    let how = ["--release", "--zig", "--compatibility", &tag];
    let wheel = build(workspace, &tools, &command, (&package, &how))?;
    // Maturin looks at the module alone, and not at the command.
    let found = tools.program(workspace, "auditwheel").args(["show"]).args([&wheel]).read()?;
    let needs = needed_glibc(&found).with_context(|| format!("auditwheel names no manylinux: {found}"))?;
    let bytes = fs::metadata(&wheel)?.len();
    println!("wheel: {} ({bytes} bytes), for glibc 2.{needs} and newer", workspace.shown(&wheel));
    ensure!(needs <= GLIBC, "the wheel needs glibc 2.{needs}, and may need 2.{GLIBC}");
    ensure!(bytes <= MOST_BYTES, "the wheel has more than {MOST_BYTES} bytes");
    Ok(())
}

/// The minor version of glibc 2 in the tag that `auditwheel show` finds a wheel consistent with.
fn needed_glibc(shown: &str) -> Option<u32> {
    let (_, rest) = shown.split_once("\"manylinux_2_")?;
    rest.split('_').next()?.parse().ok()
}

const LEFT_OUT: &str = "LEFT OUT";

/// What a step needs; `None`, with a message, where this machine doesn't have it and isn't CI.
fn or_left_out(step: &str, found: Result<PythonHome>) -> Result<Option<PythonHome>> {
    match found {
        Err(error) if !is_on("CI") => {
            println!("\n{step}: LEFT OUT, nothing of it is tested: {error:#}");
            Ok(None)
        }
        found => found.map(Some),
    }
}

/// Builds the wheel of the module and the command into a folder, with options of maturin; returns its path.
fn build(
    workspace: &Workspace,
    tools: &PythonHome,
    command: &Path,
    (wheels, how): (&Path, &[&str]),
) -> Result<PathBuf> {
    let package = workspace.root.join(CRATE);
    let inside = package.join(COMMAND);
    if inside.exists() {
        fs::remove_dir_all(&inside).context("cannot clear the folder of the command in the package")?;
    }
    fs::create_dir_all(wheels).context("cannot create the folder of the wheels")?;
    while let Some(old) = wheel_in(wheels)? {
        fs::remove_file(old).context("cannot remove the wheel of an earlier run")?;
    }
    fs::create_dir_all(&inside).context("cannot create the folder of the command in the package")?;
    let name = command.file_name().context("the command has no name")?;
    fs::copy(command, inside.join(name)).context("cannot copy the command into the package")?;
    if on_the_path("strip") {
        Cmd::new("strip", &inside).args([name]).run()?;
    }
    // Compiled crates are shared with the workspace as far as their features agree.
    let built = tools
        .program_in(&package, "maturin")
        .args(["build", "--strip", "--out"])
        .args([wheels])
        .args(how)
        .envs([("CARGO_TARGET_DIR", workspace.target.clone()), tools.zig()])
        .run();
    fs::remove_dir_all(&inside).context("cannot clear the folder of the command in the package")?;
    built?;
    wheel_in(wheels)?.context("maturin built no wheel")
}

fn wheel_in(folder: &Path) -> Result<Option<PathBuf>> {
    let mut found = fs::read_dir(folder)?.filter_map(|entry| Some(entry.ok()?.path()));
    Ok(found.find(|path| path.extension().is_some_and(|end| end == "whl")))
}

/// An environment with everything that builds the wheel and tests it; it stays for the next run.
fn tools(workspace: &Workspace, folder: &Path, requirements: &[&str]) -> Result<PythonHome> {
    ensure!(
        on_the_path("python3"),
        "there is no python3; `apt-get install python3 python3-venv` installs it"
    );
    let tools = environment(workspace, folder, false)?;
    // The pip that a Python brings may be years old, and then takes minutes to choose versions.
    tools.pip(workspace, &["--upgrade", "pip>=25"])?;
    tools.pip(workspace, &[&["numpy", "onnxruntime>=1.22", MATURIN], requirements].concat())?;
    Ok(tools)
}

/// A virtual environment of Python.
#[derive(Debug)]
pub(crate) struct PythonHome(PathBuf);

fn environment(workspace: &Workspace, folder: &Path, empty: bool) -> Result<PythonHome> {
    let clear: &[&str] = if empty { &["--clear"] } else { &[] };
    Cmd::new("python3", &workspace.root)
        .args(["-m", "venv"])
        .args(clear)
        .args([folder])
        .run()
        .context("`apt-get install python3-venv` installs what is missing")?;
    Ok(PythonHome(folder.to_owned()))
}

impl PythonHome {
    fn bin(&self) -> PathBuf {
        self.0.join(if cfg!(windows) { "Scripts" } else { "bin" })
    }

    fn interpreter(&self) -> PathBuf {
        self.bin().join("python")
    }

    fn python(&self, workspace: &Workspace) -> Cmd {
        self.python_in(&workspace.target)
    }

    fn python_in(&self, folder: &Path) -> Cmd {
        Cmd::new(self.interpreter(), folder)
    }

    fn program(&self, workspace: &Workspace, name: &str) -> Cmd {
        self.program_in(&workspace.target, name)
    }

    fn program_in(&self, folder: &Path, name: &str) -> Cmd {
        Cmd::new(self.bin().join(name), folder)
    }

    fn pip<S: AsRef<std::ffi::OsStr>>(&self, workspace: &Workspace, what: &[S]) -> Result<()> {
        self.python_in(&workspace.root.join(CRATE))
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
            .args(what)
            .run()
    }

    /// Installs the wheel, whose version is that of the one before it.
    fn install_again(&self, workspace: &Workspace, wheel: &Path) -> Result<()> {
        let again = ["--force-reinstall", "--no-deps"].map(Path::new);
        self.pip(workspace, &[again[0], again[1], wheel])
    }

    /// Where cargo-zigbuild and maturin look for zig, if they are to use it.
    fn zig(&self) -> (&'static str, PathBuf) {
        ("CARGO_ZIGBUILD_PYTHON_PATH", self.interpreter())
    }

    /// Runs tests of the installed wheel; returns pytest's last line, which counts them.
    fn test(&self, workspace: &Workspace, vars: &Vars<'_>, tests: &[&str], command: &Path) -> Result<String> {
        let mut summary = String::new();
        self.python_in(&workspace.root.join(CRATE))
            .args(["-m", "pytest", "--quiet", "-p", "no:cacheprovider"])
            .args(tests)
            .envs(each(vars))
            .envs([("EMBED_COMMAND", command)])
            .run_watched(|line| summary = line.trim_matches(['=', ' ', '\n']).to_owned())?;
        ensure!(summary.contains(" passed"), "no test of the wheel ran");
        Ok(summary)
    }
}

fn each<'v>(vars: &'v Vars<'_>) -> impl Iterator<Item = (&'v String, &'v std::ffi::OsString)> {
    vars.iter().map(|(name, value)| (name, value))
}

/// The first lines of Python of the README.
fn first_lines(readme: &str) -> Result<String> {
    let (_, rest) = readme.split_once("\n```python\n").context("README.md has no lines of Python")?;
    let (lines, _) = rest.split_once("\n```").context("the lines of Python in README.md don't end")?;
    Ok(lines.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_glibc_of_a_wheel_is_read() {
        let shown = "x.whl is consistent\nwith the following platform tag: \"manylinux_2_28_x86_64\".\n";
        assert_eq!(needed_glibc(shown), Some(28));
        assert_eq!(needed_glibc("with the following platform tag:\n\"manylinux_2_5_aarch64\"."), Some(5));
        assert_eq!(needed_glibc("with the following platform tag: \"linux_x86_64\"."), None);
    }

    #[test]
    fn the_first_lines_of_python_are_found() {
        let readme = "# a\n```sh\nls\n```\n```python\nimport embed\nprint(1)\n```\n```python\nno\n```\n";
        assert_eq!(first_lines(readme).unwrap(), "import embed\nprint(1)");
        assert!(first_lines("nothing").is_err());
    }
}
