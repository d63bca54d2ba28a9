//! Starting other programs: what is run is shown, and a failure names the command.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use anyhow::{Context, Result, bail};

/// One program to start, in one folder.
#[derive(Debug)]
pub(crate) struct Cmd {
    command: Command,
    shown: String,
}

impl Cmd {
    /// A program, started in `folder`.
    pub(crate) fn new(program: impl AsRef<OsStr>, folder: &Path) -> Self {
        let program = program.as_ref();
        let mut command = Command::new(program);
        command.current_dir(folder);
        // A PATH that can't be put together stays as it is.
        command.envs(std::env::join_paths(folders()).ok().map(|path| ("PATH", path)));
        // Of a program that we built, the name is enough for the reader.
        let shown = Path::new(program).file_stem().unwrap_or(program).to_string_lossy().into_owned();
        Self { command, shown }
    }

    /// A line of the shell, with pipes and redirections.
    pub(crate) fn shell(line: &str, folder: &Path) -> Self {
        let mut cmd = Self::new("sh", folder);
        cmd.command.args(["-c", line]);
        line.clone_into(&mut cmd.shown);
        cmd
    }

    /// The cargo that runs this program, so that a `+toolchain` holds for everything below it.
    pub(crate) fn cargo(folder: &Path) -> Self {
        let mut cmd = Self::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()), folder);
        "cargo".clone_into(&mut cmd.shown);
        cmd
    }

    /// Adds arguments.
    pub(crate) fn args<I: IntoIterator<Item: AsRef<OsStr>>>(mut self, args: I) -> Self {
        for arg in args {
            let arg = arg.as_ref();
            let text = arg.to_string_lossy();
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./,:+".contains(c);
            let _ = if !text.is_empty() && text.chars().all(plain) {
                write!(self.shown, " {text}")
            } else {
                write!(self.shown, " '{text}'")
            };
            self.command.arg(arg);
        }
        self
    }

    /// Sets variables for this program alone.
    pub(crate) fn envs<K: AsRef<OsStr>, V: AsRef<OsStr>>(
        mut self,
        vars: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        self.command.envs(vars);
        self
    }

    /// Gives it no standard input, so that it cannot wait for someone to type.
    pub(crate) fn without_input(mut self) -> Self {
        self.command.stdin(Stdio::null());
        self
    }

    /// Shows it now: for a command whose output is read, which would run silently, but takes long.
    pub(crate) fn announced(self) -> Self {
        self.show();
        self
    }

    /// Runs it with our standard output, and fails if it fails.
    pub(crate) fn run(mut self) -> Result<()> {
        self.show();
        let status = self.command.status().with_context(|| format!("cannot start `{}`", self.shown))?;
        check(status, &self.shown)
    }

    /// Runs it and returns its standard output.
    pub(crate) fn read(mut self) -> Result<String> {
        let output = self
            .command
            .stderr(Stdio::inherit())
            .output()
            .with_context(|| format!("cannot start `{}`", self.shown))?;
        check(output.status, &self.shown)?;
        String::from_utf8(output.stdout).with_context(|| format!("`{}` wrote no UTF-8", self.shown))
    }

    /// Starts it in the background.
    pub(crate) fn start(mut self) -> Result<Child> {
        self.show();
        self.command.stdin(Stdio::null()).spawn().with_context(|| format!("cannot start `{}`", self.shown))
    }

    /// Runs it, shows its standard output as it comes, and passes every line to `see`.
    pub(crate) fn run_watched(mut self, see: impl FnMut(&str)) -> Result<()> {
        self.show();
        let mut child = self
            .command
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start `{}`", self.shown))?;
        let pipe = child.stdout.take().context("the pipe to the child is gone")?;
        watch(pipe, |line| print!("{line}"), see)?;
        check(child.wait()?, &self.shown)
    }

    /// Runs it, shows its standard error as it comes, and passes every line to `see`.
    pub(crate) fn run_noting(mut self, see: impl FnMut(&str)) -> Result<()> {
        self.show();
        let mut child = self
            .command
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start `{}`", self.shown))?;
        let pipe = child.stderr.take().context("the pipe to the child is gone")?;
        watch(pipe, |line| eprint!("{line}"), see)?;
        check(child.wait()?, &self.shown)
    }

    /// Runs it and returns its standard output, however it ended.
    pub(crate) fn read_anyway(mut self) -> Result<String> {
        let output = self.command.output().with_context(|| format!("cannot start `{}`", self.shown))?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Shows only the name of the program, not its arguments.
    pub(crate) fn quietly(mut self) -> Self {
        let program = self.shown.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
        self.shown = program + " …";
        self
    }

    fn show(&self) {
        println!("$ {}", self.shown);
    }
}

/// Reads to the end, line by line: as bytes, since a test may print text that isn't UTF-8.
fn watch(pipe: impl Read, echo: impl Fn(&str), mut see: impl FnMut(&str)) -> Result<()> {
    let mut reader = BufReader::new(pipe);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line)? > 0 {
        let text = String::from_utf8_lossy(&line);
        echo(&text);
        see(text.trim_end());
        line.clear();
    }
    Ok(())
}

fn check(status: ExitStatus, shown: &str) -> Result<()> {
    match status.code() {
        Some(0) => Ok(()),
        Some(code) => bail!("`{shown}` ended with exit code {code}"),
        None => bail!("`{shown}` was ended by a signal"),
    }
}

/// Whether a variable is set to something that means yes.
pub(crate) fn is_on(name: &str) -> bool {
    std::env::var(name).is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false" | "no"))
}

/// Whether a program is on the PATH of what we start.
pub(crate) fn on_the_path(program: &str) -> bool {
    folders().any(|folder| folder.join(program).is_file())
}

/// The folders of the PATH, preceded by the one into which `.ci/run` installs tools from PyPI.
fn folders() -> impl Iterator<Item = PathBuf> {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/ci-tools/bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path: Vec<PathBuf> = std::env::split_paths(&path).collect();
    tools.is_dir().then_some(tools).into_iter().chain(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_command_and_its_code() {
        let error = Cmd::shell("exit 3", Path::new(".")).run().unwrap_err().to_string();
        assert_eq!(error, "`exit 3` ended with exit code 3");
    }

    #[test]
    fn arguments_are_shown_as_one_would_type_them() {
        let cmd = Cmd::new("/some/where/embed", Path::new(".")).args(["encode", "--x=1", "two words", ""]);
        assert_eq!(cmd.shown, "embed encode --x=1 'two words' ''");
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = Cmd::new("no-such-program-here", Path::new(".")).run().unwrap_err();
        assert_eq!(error.to_string(), "cannot start `no-such-program-here`");
    }

    #[test]
    fn noted_errors_arrive_line_by_line() {
        let mut lines = Vec::new();
        let cmd = Cmd::shell("printf 'one\\ntwo' >&2; exit 4", Path::new("."));
        let error = cmd.run_noting(|line| lines.push(line.to_owned())).unwrap_err().to_string();
        assert!(error.ends_with("exit code 4"), "{error}");
        assert_eq!(lines, ["one", "two"]);
    }

    #[test]
    fn watched_output_arrives_line_by_line() {
        let mut lines = Vec::new();
        let cmd = Cmd::shell("printf 'one\\ntwo'", Path::new("."));
        cmd.run_watched(|line| lines.push(line.to_owned())).unwrap();
        assert_eq!(lines, ["one", "two"]);
    }
}
