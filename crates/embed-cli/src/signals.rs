//! The signals that end a process.

use std::io;

/// Waits until somebody asks the process to end.
#[cfg(unix)]
pub(crate) async fn wait_for_signal() -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        stopped = tokio::signal::ctrl_c() => stopped,
        _ = terminate.recv() => Ok(()),
    }
}

/// Waits until somebody asks the process to end.
#[cfg(not(unix))]
pub(crate) async fn wait_for_signal() -> io::Result<()> {
    tokio::signal::ctrl_c().await
}
