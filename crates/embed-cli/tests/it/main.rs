//! The binary as a user meets it: what it prints, where, and how it ends.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod bad_input;
mod bad_setup;
mod bench;
mod cache;
mod certify;
mod config;
mod document;
mod encode;
mod forms;
mod golden;
mod habits;
mod migrate;
mod models;
#[cfg(not(feature = "parquet"))]
mod no_parquet;
#[cfg(not(feature = "redis"))]
mod no_redis;
mod ollama;
mod route;
mod serve;
mod stream;
mod whole;

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use embed_encoder::assets::{DataHome, ModelFiles};
use embed_encoder::{Precision, Profile};
use tempfile::TempDir;

/// The data folder with the model in int8; `None` if it isn't on this machine, which is said aloud.
fn home() -> Option<DataHome> {
    let home = DataHome::from_env().unwrap();
    let files = ModelFiles::open(&home, &Profile::all()[0], Precision::Int8);
    embed_testkit::require("multilingual-e5-small (int8)", files).map(|_| home)
}

fn embed() -> Command {
    Command::new(env!("CARGO_BIN_EXE_embed"))
}

/// How a run ended.
#[derive(Debug)]
struct Run {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Run {
    /// The JSON objects that were printed, a line each.
    fn rows(&self) -> Vec<serde_json::Value> {
        self.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The one line of an error, without the program's name.
    fn error(&self) -> &str {
        let mut lines = self.err.lines();
        let line = lines.next().unwrap_or_else(|| panic!("no error was printed: {self:?}"));
        assert_eq!(lines.next(), None, "an error is one line: {}", self.err);
        line.strip_prefix("embed: ").unwrap()
    }
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

fn run<S: AsRef<OsStr>>(args: &[S]) -> Run {
    embed().args(args).stdin(Stdio::null()).output().unwrap().into()
}

/// Runs with bytes on standard input.
fn run_with_input(args: &[&str], input: &[u8]) -> Run {
    let mut child = embed()
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // Beside the reading, or both would wait for each other once a pipe is full.
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    let _ = writer.join().unwrap();
    output.into()
}

/// A data folder with a copy of the installed files, to be broken.
fn copy_of(home: &DataHome) -> (TempDir, DataHome) {
    let folder = TempDir::new().unwrap();
    let copy = DataHome::new(folder.path());
    let profile = &Profile::all()[0];
    for (from, to) in [
        (home.runtime_dir(), copy.runtime_dir()),
        (home.model_dir(profile, Precision::Int8), copy.model_dir(profile, Precision::Int8)),
    ] {
        fs::create_dir_all(&to).unwrap();
        for entry in fs::read_dir(&from).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
    (folder, copy)
}

fn run_in(home: &DataHome, args: &[&str]) -> Run {
    command_in(home, args).output().unwrap().into()
}

fn command_in(home: &DataHome, args: &[&str]) -> Command {
    let mut command = embed();
    command.args(args).env("EMBED_HOME", home.root()).env_remove("ORT_DYLIB_PATH").stdin(Stdio::null());
    command
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}
