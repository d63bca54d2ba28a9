//! The log of `embed serve` on standard error, and its traces if a collector is set.

use std::io::{self, BufWriter, Stderr, Write};
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

/// The most lines that wait for the reader of standard error, some megabytes; further ones are dropped and counted.
const WAITING: usize = 1 << 14;
/// Bytes of lines that are written at once, and how long the next ones are waited for.
const BATCH: usize = 1 << 16;
const PAUSE: Duration = Duration::from_millis(5);
/// How long to wait until the last lines are written.
const LAST_LINES: Duration = Duration::from_secs(2);

/// The running log, which is finished last of all.
pub(super) struct Log {
    #[cfg(feature = "otlp")]
    traces: Option<Traces>,
    dropped: ErrorCounter,
    filter: reload::Handle<EnvFilter, Registry>,
    last: WorkerGuard,
}

/// Starts to log the events of `tracing`. No event and no span contains a user's text.
///
/// A separate thread writes the lines: serving never waits for the reader of standard error.
pub(super) fn start(settings: &LogSettings) -> Result<Log, Error> {
    let (writer, last) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(WAITING)
        .thread_name("log")
        .finish(Batches(BufWriter::with_capacity(BATCH, io::stderr())));
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
    // Another subscriber in the process would be a bug of this program, but no reason not to serve.
    let _ = subscriber.try_init();
    // The default hook writes to standard error and waits for it, and the message of a panic may hold a user's text.
    panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        tracing::error!(place, "a task panicked");
    }));
    Ok(Log {
        #[cfg(feature = "otlp")]
        traces,
        dropped,
        filter: handle,
        last,
    })
}

/// Standard error, many lines at a time. A system call for each line, and one to wake the thread that makes it, cost some 5 %
/// of the requests per second of a gateway that answers out of its cache.
struct Batches(BufWriter<Stderr>);

impl Write for Batches {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.write(line)
    }

    /// The thread of the log calls this when no line is left, and looks for the next ones after the pause.
    #[expect(
        clippy::disallowed_methods,
        reason = "the thread of the log has nothing else to do, and serves nobody"
    )]
    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.0.flush();
        thread::sleep(PAUSE);
        flushed
    }
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

    /// A handle to change the filter.
    pub(super) fn filter(&self) -> Filter {
        Filter(self.filter.clone())
    }

    /// Sends the last traces, and writes the last lines if standard error is read.
    #[cfg_attr(not(feature = "otlp"), expect(clippy::unused_async, reason = "there is nothing to wait for"))]
    pub(super) async fn finish(self) {
        #[cfg(feature = "otlp")]
        if let Some(traces) = self.traces {
            traces.finish().await;
        }
        within(LAST_LINES, move || drop(self.last));
    }
}

/// Changes the filter of the log while it runs.
#[derive(Clone)]
pub(super) struct Filter(reload::Handle<EnvFilter, Registry>);

impl Filter {
    pub(super) fn set(&self, settings: &LogSettings) -> Result<(), Error> {
        self.0.reload(filter(settings)).map_err(|error| {
            Error::new(ErrorKind::Internal, "the filter of the log can't be changed").with_source(error)
        })
    }
}

/// Runs work that may block on a reader on another thread, and waits for it at most this long.
pub(super) fn within(limit: Duration, what: impl FnOnce() + Send + 'static) {
    let (done, is_done) = mpsc::channel();
    thread::spawn(move || {
        what();
        let _ = done.send(());
    });
    let _ = is_done.recv_timeout(limit);
}
