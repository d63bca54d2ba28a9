//! Signals to processes.

use std::fmt::Display;
use std::process::Command;

/// Sends a signal, such as `TERM`, to a process. The shell does it: the program `kill` is in a package that a small
/// system doesn't have.
///
/// # Errors
///
/// If there is no such process, or it is somebody else's.
pub fn signal(signal: &str, process: impl Display) -> Result<(), String> {
    let line = format!("kill -s {signal} {process}");
    let output = Command::new("sh").args(["-c", &line]).output().map_err(|error| format!("sh: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{line}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
