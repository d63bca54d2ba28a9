//! What the tests call that isn't Rust: Python's and JavaScript's clients, a fuzzer, a browser. Each list of packages
//! is installed once below the target folder, and again when the list changes.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The scripts and the lists.
pub(crate) const CLIENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/gateway/clients");

/// The version whose command is run.
const OLLAMA: &str = "0.9.3";

type Found = Result<PathBuf, String>;

/// Python with the clients; `None`, said aloud, where there is none.
pub(crate) fn python() -> Option<Command> {
    static PACKAGES: OnceLock<Found> = OnceLock::new();
    let packages = PACKAGES.get_or_init(|| packages("clients")).clone();
    embed_testkit::require("Python clients", packages).map(|packages| python_with(&packages))
}

/// The command `schemathesis`; `None`, said aloud, where there is none.
pub(crate) fn schemathesis() -> Option<Command> {
    let packages = embed_testkit::require("schemathesis", packages("schemathesis"))?;
    let mut command = python_with(&packages);
    command.arg(packages.join("bin/schemathesis"));
    Some(command)
}

fn python_with(packages: &Path) -> Command {
    let mut command = Command::new("python3");
    command.env("PYTHONPATH", packages).env("PYTHONNOUSERSITE", "1");
    command
}

/// A folder with the scripts in JavaScript and what they use; `None`, said aloud, where there is none.
pub(crate) fn javascript() -> Option<PathBuf> {
    static JAVASCRIPT: OnceLock<Found> = OnceLock::new();
    let folder = JAVASCRIPT.get_or_init(modules).clone();
    embed_testkit::require("Node.js clients", folder)
}

/// A Chromium; `None`, said aloud, where there is none.
pub(crate) fn chromium() -> Option<PathBuf> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let mut found = std::env::split_paths(&folders)
        .flat_map(|folder| ["chromium", "chromium-browser", "google-chrome"].map(|name| folder.join(name)));
    let found =
        found.find(|path| path.is_file()).ok_or("there is none on the PATH; Debian has it in `chromium`");
    embed_testkit::require("Chromium", found)
}

/// Ollama's own command, for a server at a URL; `None`, said aloud, where the script that starts servers isn't named.
pub(crate) fn ollama_command(url: &str) -> Option<Command> {
    // It comes with the server, which the script installs below this folder when it first starts one.
    drop(embed_testkit::ollama::rig::require(OLLAMA)?);
    let cache = || {
        let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home);
        cache.map(|cache| cache.join("embed-rigs"))
    };
    let rigs = std::env::var_os("EMBED_RIGS").map(PathBuf::from).or_else(cache).unwrap_or_default();
    let folder = rigs.join("ollama").join(format!("server-{OLLAMA}"));
    let program = folder.join("ollama");
    let found = if program.is_file() { Ok(program) } else { Err("the script's folder hasn't it") };
    let mut command = Command::new(embed_testkit::require("Ollama", found)?);
    let libraries = std::env::join_paths([folder.join("lib"), folder]).unwrap();
    command.env("LD_LIBRARY_PATH", libraries).env("OLLAMA_HOST", url).stdin(std::process::Stdio::null());
    Some(command)
}

/// Runs a program to its end, which is forced after some minutes, and fails with what it said unless it is content.
pub(crate) fn run(command: &mut Command, what: &str) -> String {
    finish(command, what).unwrap_or_else(|error| panic!("{error}"))
}

/// What a program said, however it ended: Ollama's command ends well with an error, too.
pub(crate) fn output_of(command: &mut Command, what: &str) -> String {
    finish(command, what).unwrap_or_else(|said| said)
}

fn finish(command: &mut Command, what: &str) -> Result<String, String> {
    let mut limited = Command::new("timeout");
    limited.args(["--kill-after=5", "300"]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        limited.current_dir(folder);
    }
    let output = limited.output().map_err(|error| format!("{what}: {error}"))?;
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() { Ok(said) } else { Err(format!("{what}: {}\n{said}", output.status)) }
}

/// A folder with the packages of a list. It is no virtual environment, for which Debian has a package of its own: pip is
/// enough.
fn packages(list: &str) -> Found {
    let wanted = format!("{CLIENTS}/{list}.txt");
    installed(list, &[&wanted], |folder| {
        let mut pip = Command::new("python3");
        // The list is complete, so nothing is to be worked out, and nothing is built.
        pip.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-input",
            "--disable-pip-version-check",
            "--no-deps",
        ]);
        pip.args(["--only-binary=:all:", "--requirement", &wanted, "--target"]).arg(folder.join("packages"));
        finish(&mut pip, "pip install")
    })
    .map(|folder| folder.join("packages"))
}

/// The JavaScript packages, with the scripts beside them, where they find them.
fn modules() -> Found {
    let lists = ["package.json", "package-lock.json"].map(|name| format!("{CLIENTS}/{name}"));
    let folder = installed("javascript", &[&lists[0], &lists[1]], |folder| {
        let mut npm = Command::new("npm");
        npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(folder);
        finish(&mut npm, "npm ci")
    })?;
    for script in ["clients.mjs", "page.mjs"] {
        fs::copy(Path::new(CLIENTS).join(script), folder.join(script)).map_err(|error| error.to_string())?;
    }
    Ok(folder)
}

/// A folder below the target folder in which something was installed by lists, copies of which say so.
fn installed(name: &str, lists: &[&str], install: impl FnOnce(&Path) -> Result<String, String>) -> Found {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let folder = root.join(format!("gateway-{name}"));
    let attempt = || -> std::io::Result<Result<String, String>> {
        // Another run of the tests may be at it.
        let lock = File::create(root.join(format!("gateway-{name}.lock")))?;
        lock.lock()?;
        let copy_of = |list: &str| folder.join(Path::new(list).file_name().unwrap_or_default());
        let done = folder.join("done");
        let same = |list: &&str| fs::read(list).ok() == fs::read(copy_of(list)).ok();
        if done.exists() && lists.iter().all(same) {
            return Ok(Ok(String::new()));
        }
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        for list in lists {
            fs::copy(list, copy_of(list))?;
        }
        let result = install(&folder);
        if result.is_ok() {
            File::create(done)?;
        }
        Ok(result)
    };
    attempt().map_err(|error| error.to_string())??;
    Ok(folder)
}
