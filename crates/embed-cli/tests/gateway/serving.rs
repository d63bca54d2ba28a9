//! A running `embed serve`.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};

use embed_encoder::assets::{DataHome, ModelFiles};
use embed_encoder::{Precision, Profile};
use serde_json::Value;
use tempfile::TempDir;

/// What is set so that the machine's own settings don't show.
const PREFIX: &str = "TMWS_";

/// The command, without settings of this machine but for its data folder.
pub(crate) fn embed() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_embed"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with(PREFIX)) {
        command.env_remove(name);
    }
    command.env_remove("OLLAMA_HOST").stdin(Stdio::null());
    command
}

/// Whether the model is on this machine, in int8; if it isn't, that is said aloud.
pub(crate) fn has_e5() -> bool {
    let home = DataHome::from_env().unwrap();
    let files = ModelFiles::open(&home, &Profile::all()[0], Precision::Int8);
    embed_testkit::require("multilingual-e5-small (int8)", files).is_some()
}

/// Whether all-MiniLM is on this machine, too.
pub(crate) fn has_minilm(precision: Precision) -> bool {
    let home = DataHome::from_env().unwrap();
    let profile = Profile::by_name("all-minilm-l6-v2").unwrap();
    let name = format!("all-minilm-l6-v2 ({precision})");
    embed_testkit::require(&name, ModelFiles::find(&home, profile, precision)).is_some() && has_e5()
}

/// English is left to Ollama, whose double has vectors of its own.
pub(crate) const NO_ENGLISH_MODEL: (&str, &str) = ("TMWS_ROUTER_ENGLISH_MODEL", "none");

/// A gateway at a free port. It is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Serving {
    child: Child,
    url: String,
    folder: TempDir,
    output: BufReader<ChildStdout>,
    /// Nobody reads it.
    _unread: Option<ChildStderr>,
}

impl Serving {
    /// Starts one and waits until it serves.
    pub(crate) fn start<S: AsRef<OsStr>>(args: &[S], variables: &[(&str, &str)]) -> Self {
        let folder = TempDir::new().unwrap();
        let log = File::create(folder.path().join("log")).unwrap();
        Self::start_with(args, variables, folder, log.into())
    }

    /// Starts one whose log goes into a pipe that nobody reads.
    pub(crate) fn start_unread<S: AsRef<OsStr>>(args: &[S], variables: &[(&str, &str)]) -> Self {
        Self::start_logging_to(args, variables, Stdio::piped())
    }

    /// Starts one whose log goes there.
    pub(crate) fn start_logging_to<S: AsRef<OsStr>>(
        args: &[S],
        variables: &[(&str, &str)],
        log: Stdio,
    ) -> Self {
        Self::start_with(args, variables, TempDir::new().unwrap(), log)
    }

    fn start_with<S: AsRef<OsStr>>(
        args: &[S],
        variables: &[(&str, &str)],
        folder: TempDir,
        log: Stdio,
    ) -> Self {
        let mut command = embed();
        command.args(["serve", "--listen", "127.0.0.1:0"]).args(args);
        command.env("TMWS_LOG_FORMAT", "json").envs(variables.iter().copied());
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let address = line.split_whitespace().find(|word| word.starts_with("http"));
        let url = address.map(str::to_owned).unwrap_or_else(|| {
            let log = fs::read_to_string(folder.path().join("log"));
            panic!("embed serve doesn't serve; it printed {line:?} and logged {log:?}")
        });
        let unread = child.stderr.take();
        Self { child, url, folder, output, _unread: unread }
    }

    /// Such as `http://127.0.0.1:40001`.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// A folder that goes when this does.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The id of its process.
    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    /// What of its memory is in use, in KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim_end_matches("kB").trim().parse().unwrap()
    }

    /// The address for operators, which is printed behind the other one.
    pub(crate) fn operators(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim().strip_prefix("operators: ").unwrap().to_owned()
    }

    /// Tells it to end, as a service manager does.
    pub(crate) fn terminate(&self) {
        self.signal("TERM");
    }

    /// Sends it a signal, such as `HUP`.
    pub(crate) fn signal(&self, name: &str) {
        embed_testkit::signal(name, self.process()).unwrap();
    }

    /// Waits until it has ended by itself.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// The events that it logged.
    pub(crate) fn log(&self) -> Vec<Value> {
        let log = fs::read_to_string(self.file("log")).unwrap();
        let event = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        log.lines().map(event).collect()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
