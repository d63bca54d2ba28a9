//! How the program ends: exit codes, and the one place that prints an error.

use std::error::Error as _;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use embed_core::{Error, ErrorKind};

/// Shown under `--help`, so that a script's author finds the codes. Lines are wrapped at the width of the terminal.
pub(crate) const HELP: &str = "\
Exit codes:
  0  done
  1  some rows failed, or a check found something; the other rows stand
  2  wrong usage
  3  the set-up is wrong (settings, model, runtime library, files, permissions); the message says how to fix it
  4  anything else: a service that doesn't answer, a time-out, a signal; it may work when it is tried again

Data goes to standard output, messages and progress to standard error. A file that --output names appears when it is \
whole.

Variables: those that begin with TMWS_ are settings, and `embed config example` prints all of them; EMBED_HOME is \
about files: it names the data folder, with models and runtime library. ORT_DYLIB_PATH names the ONNX Runtime library.";

/// How long to wait until standard error is read.
const READ_WITHIN: Duration = Duration::from_secs(2);

/// How a command ended that didn't fail as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Done,
    /// Some rows failed, or a check found something.
    Failures,
}

/// Prints the error, if there is one, and returns the exit code.
pub(crate) fn report(result: Result<Exit, Error>) -> ExitCode {
    match result {
        Ok(Exit::Done) => ExitCode::SUCCESS,
        Ok(Exit::Failures) => ExitCode::from(1),
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let mut line = format!("embed: {error}");
            let mut source = error.source();
            while let Some(cause) = source {
                line.push_str(&format!(": {cause}"));
                source = cause.source();
            }
            // If standard error is closed or nobody reads it, there is still the exit code.
            let (done, is_done) = mpsc::channel();
            thread::spawn(move || {
                let _ = writeln!(io::stderr(), "{line}");
                let _ = done.send(());
            });
            let _ = is_done.recv_timeout(READ_WITHIN);
            ExitCode::from(code(error.kind()))
        }
    }
}

fn code(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::InvalidInput | ErrorKind::InputTooLong => 1,
        ErrorKind::Config | ErrorKind::ModelNotFound | ErrorKind::Unauthorized => 3,
        _ => 4,
    }
}

/// A reader that closes the pipe early (`| head`) is no failure.
fn is_broken_pipe(error: &Error) -> bool {
    let source = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    source.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// An error of reading or writing a file, named for the user.
pub(crate) fn file_error(what: &str, path: impl std::fmt::Display, error: io::Error) -> Error {
    let fix = match error.kind() {
        io::ErrorKind::StorageFull => "; the disk is full: free some space or choose another place",
        io::ErrorKind::PermissionDenied => "; this user lacks the permission",
        _ => "",
    };
    Error::new(ErrorKind::Config, format!("{what}{fix}")).with_context("file", path).with_source(error)
}
