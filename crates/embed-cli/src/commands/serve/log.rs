//! The log of `embed serve`, on standard error.

use std::io;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{fmt, registry};

use crate::settings::{LogFormat, LogSettings};

/// Begins to log what is said through `tracing`. Texts of users are in no event.
pub(super) fn start(settings: &LogSettings) {
    // The setting was checked when it was read. `EnvFilter` could tell spans apart by their fields, too; for that it
    // takes locks at every step of every request.
    let filter = settings.filter.parse().unwrap_or_else(|_| Targets::new().with_default(LevelFilter::INFO));
    let (filtered, log) = (registry().with(filter), fmt::layer().with_writer(io::stderr));
    // Another subscriber in the process would be a fault of this program, and no reason not to serve.
    let _ = match settings.format {
        LogFormat::Human => filtered.with(log.with_ansi(false)).try_init(),
        LogFormat::Json => filtered.with(log.json().flatten_event(true)).try_init(),
    };
}
