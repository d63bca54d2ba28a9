//! The log of `embed serve`, on standard error.

use std::io;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

use crate::settings::{LogFormat, LogSettings};

/// Begins to log what is said through `tracing`. Texts of users are in no event.
pub(super) fn start(settings: &LogSettings) {
    // The setting was checked when it was read.
    let filter = EnvFilter::try_new(&settings.filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let log = fmt().with_env_filter(filter).with_writer(io::stderr);
    // Another subscriber in the process would be a fault of this program, and no reason not to serve.
    let _ = match settings.format {
        LogFormat::Human => log.with_ansi(false).try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
}
