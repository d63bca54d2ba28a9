//! The step `python`: the wheel of `embed-python` is built, installed where nothing else is, and tested there.
//!
//! It needs Python 3 with `venv`, and PyPI. On a developer's machine without them the step is left out with a message; in CI
//! that is an error.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::setup::{self, BuildProfile, PrecisionChoice, Vars};
use crate::shell::{Cmd, is_on, on_the_path};
use crate::workspace::Workspace;

const CRATE: &str = "crates/embed-python";
/// What builds the wheel, as pyproject.toml has it.
const MATURIN: &str = "maturin>=1.9.4,<2";
/// Where the command lies in the package.
const COMMAND: &str = "python/embed/bin";

/// Runs everything; returns the text for the table of CI.
pub(crate) fn run(workspace: &Workspace, vars: &Vars<'_>) -> Result<String> {
    let folder = workspace.target.join("python");
    fs::create_dir_all(&folder).context("cannot create the folder target/python")?;
    // Both are fetched before anything is compiled.
    let tools = match tools(workspace, &folder) {
        Ok(tools) => tools,
        Err(error) if is_on("CI") => return Err(error),
        Err(error) => {
            println!("\npython: LEFT OUT, nothing of the wheel is tested: {error:#}");
            return Ok("LEFT OUT: no Python with venv, or no PyPI".to_owned());
        }
    };
    let command = setup::run(workspace, BuildProfile::Quick, PrecisionChoice::All, vars)?;
    let wheel = build(workspace, &tools, &folder, &command, "dev")?;

    // Where only the wheel and its dependencies are, the lines of the README work.
    let clean = folder.join("clean");
    let clean = environment(workspace, &clean, true)?;
    clean.pip(workspace, &[wheel.as_os_str()])?;
    let lines = first_lines(&fs::read_to_string(workspace.root.join("README.md"))?)?;
    clean.python(workspace).args(["-c", &lines]).envs(each(vars)).run()?;
    clean
        .program(workspace, "embed")
        .args(["encode", "--format", "table", "富士山"])
        .envs(each(vars))
        .run()?;

    let tests = workspace.root.join(CRATE);
    let again = ["--force-reinstall", "--no-deps"].map(std::ffi::OsStr::new);
    tools.pip(workspace, &[again[0], again[1], wheel.as_os_str()])?;
    let mut summary = String::new();
    tools
        .python_in(&tests)
        .args(["-m", "pytest", "--quiet", "-p", "no:cacheprovider"])
        .envs(each(vars))
        .envs([("EMBED_COMMAND", &command)])
        .run_watched(|line| summary = line.trim_matches(['=', ' ', '\n']).to_owned())?;
    ensure!(summary.contains(" passed"), "no test of the wheel ran");
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

/// Builds the wheel of the module and the command; returns its path.
pub(crate) fn build(
    workspace: &Workspace,
    tools: &PythonHome,
    folder: &Path,
    command: &Path,
    profile: &str,
) -> Result<PathBuf> {
    let package = workspace.root.join(CRATE);
    let (wheels, inside) = (folder.join("wheels"), package.join(COMMAND));
    for emptied in [&wheels, &inside] {
        if emptied.exists() {
            fs::remove_dir_all(emptied).context("cannot clear the folder of the wheels")?;
        }
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
        .args(["build", "--strip", "--profile", profile, "--out"])
        .args([&wheels])
        .envs([("CARGO_TARGET_DIR", &workspace.target)])
        .run();
    fs::remove_dir_all(&inside).context("cannot clear the folder of the command in the package")?;
    built?;
    let mut found = fs::read_dir(&wheels)?.filter_map(|entry| Some(entry.ok()?.path()));
    found.find(|path| path.extension().is_some_and(|end| end == "whl")).context("maturin built no wheel")
}

/// The environment with everything that builds and tests the wheel; it stays for the next run.
fn tools(workspace: &Workspace, folder: &Path) -> Result<PythonHome> {
    ensure!(
        on_the_path("python3"),
        "there is no python3; `apt-get install python3 python3-venv` installs it"
    );
    let tools = environment(workspace, &folder.join("tools"), false)?;
    let requirements = workspace.root.join(CRATE).join("tests/requirements.txt");
    // The pip that a Python brings may be years old, and then takes minutes to choose versions.
    tools.pip(workspace, &["--upgrade".as_ref(), "pip>=25".as_ref()])?;
    let needed = ["numpy".as_ref(), "onnxruntime>=1.22".as_ref(), MATURIN.as_ref(), "--requirement".as_ref()];
    tools.pip(workspace, &[&needed[..], &[requirements.as_os_str()]].concat())?;
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

    fn pip(&self, workspace: &Workspace, what: &[&std::ffi::OsStr]) -> Result<()> {
        self.python(workspace)
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
            .args(what)
            .run()
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
    fn the_first_lines_of_python_are_found() {
        let readme = "# a\n```sh\nls\n```\n```python\nimport embed\nprint(1)\n```\n```python\nno\n```\n";
        assert_eq!(first_lines(readme).unwrap(), "import embed\nprint(1)");
        assert!(first_lines("nothing").is_err());
    }
}
