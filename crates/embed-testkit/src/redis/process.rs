//! A child process that doesn't outlive this one.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdin, Command, Stdio};

/// Starts the program, prints its process id, and kills it when its own input ends: when [`Process`] is dropped, and
/// also when the tests are killed, which drops nothing.
const KEEPER: &str = r#""$@" >/dev/null 2>&1 & child=$!; echo $child; cat >/dev/null; kill -9 $child; wait"#;

/// A running program; killed when dropped.
#[derive(Debug)]
pub(super) struct Process {
    id: String,
    keeper: Child,
    leash: Option<ChildStdin>,
}

impl Process {
    pub(super) fn start(program: &str, arguments: &[String]) -> Result<Self, String> {
        let mut keeper = Command::new("sh")
            .args(["-c", KEEPER, "sh", program])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("sh: {error}"))?;
        let leash = keeper.stdin.take();
        let mut id = String::new();
        if let Some(output) = keeper.stdout.take() {
            BufReader::new(output).read_line(&mut id).map_err(|error| error.to_string())?;
        }
        Ok(Self { id: id.trim().to_owned(), keeper, leash })
    }

    /// Sends a signal: `STOP`, `CONT`.
    pub(super) fn signal(&self, signal: &str) {
        let sent = crate::signal(signal, &self.id);
        assert!(sent.is_ok(), "{sent:?}");
    }
}

impl Drop for Process {
    /// Returns when the program is gone and its port is free.
    fn drop(&mut self) {
        drop(self.leash.take());
        // The keeper always ends after the program.
        let _ = self.keeper.wait();
    }
}
