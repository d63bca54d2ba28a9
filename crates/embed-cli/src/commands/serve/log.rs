//! What `embed serve` says of itself: the log on standard error, and traces where they are asked for.

use std::io;
use std::panic;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use embed_core::{Error, ErrorKind};
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

#[cfg(feature = "otlp")]
use super::traces::Traces;
use crate::settings::{LogFormat, LogSettings};

/// Lines that wait at most for who reads standard error, some megabytes; further ones are dropped and counted.
const WAITING: usize = 1 << 14;
/// For how long the last lines are waited for.
const LAST_LINES: Duration = Duration::from_secs(2);

/// What was begun, to be ended last of all.
pub(super) struct Log {
    #[cfg(feature = "otlp")]
    traces: Option<Traces>,
    dropped: ErrorCounter,
    filter: reload::Handle<EnvFilter, Registry>,
    last: WorkerGuard,
}

/// Begins to log what is said through `tracing`. Texts of users are in no event and in no span.
///
/// Lines are written by a thread of their own: nothing that serves waits for who reads standard error.
pub(super) fn start(settings: &LogSettings) -> Result<Log, Error> {
    let (writer, last) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(WAITING)
        .thread_name("log")
        .finish(io::stderr());
    let dropped = writer.error_counter();
    let lines = fmt::layer().with_writer(writer);
    let lines = match settings.format {
        LogFormat::Human => lines.with_ansi(false).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let (filter, handle) = reload::Layer::new(filter(settings));
    let subscriber = tracing_subscriber::registry().with(lines.with_filter(filter));
    #[cfg(feature = "otlp")]
    let traces = settings.otlp_endpoint.as_deref().map(Traces::to).transpose()?;
    #[cfg(feature = "otlp")]
    let subscriber = subscriber.with(traces.as_ref().map(Traces::layer));
    // Another subscriber in the process would be a fault of this program, and no reason not to serve.
    let _ = subscriber.try_init();
    // The default hook writes to standard error and waits for it, and what a panic says may hold a user's text.
    panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        tracing::error!(place, "a part of the program panicked");
    }));
    Ok(Log {
        #[cfg(feature = "otlp")]
        traces,
        dropped,
        filter: handle,
        last,
    })
}

/// The setting was checked when it was read.
fn filter(settings: &LogSettings) -> EnvFilter {
    EnvFilter::try_new(&settings.filter).unwrap_or_else(|_| EnvFilter::new("info"))
}

impl Log {
    /// Counts the lines that were dropped.
    pub(super) fn dropped(&self) -> ErrorCounter {
        self.dropped.clone()
    }

    /// What exchanges the filter.
    pub(super) fn filter(&self) -> Filter {
        Filter(self.filter.clone())
    }

    /// Sends what is left of the traces, and writes what is left of the lines if somebody reads them.
    #[cfg_attr(not(feature = "otlp"), expect(clippy::unused_async, reason = "there is nothing to wait for"))]
    pub(super) async fn finish(self) {
        #[cfg(feature = "otlp")]
        if let Some(traces) = self.traces {
            traces.finish().await;
        }
        within(LAST_LINES, move || drop(self.last));
    }
}

/// Exchanges the filter of the log while it runs.
#[derive(Clone)]
pub(super) struct Filter(reload::Handle<EnvFilter, Registry>);

impl Filter {
    pub(super) fn set(&self, settings: &LogSettings) -> Result<(), Error> {
        self.0.reload(filter(settings)).map_err(|error| {
            Error::new(ErrorKind::Internal, "the filter of the log can't be exchanged").with_source(error)
        })
    }
}

/// Does what may wait for a reader, on a thread that nobody waits for longer than this.
pub(super) fn within(limit: Duration, what: impl FnOnce() + Send + 'static) {
    let (done, is_done) = mpsc::channel();
    thread::spawn(move || {
        what();
        let _ = done.send(());
    });
    let _ = is_done.recv_timeout(limit);
}
