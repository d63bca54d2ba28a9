//! What `embed serve` says of itself: the log on standard error, and traces where they are asked for.

use std::io::{self, Stderr};

use embed_core::Error;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

use super::lines::{LastLines, Lines};
#[cfg(feature = "otlp")]
use super::traces::Traces;
use crate::settings::{LogFormat, LogSettings};

/// What was begun, to be ended last of all.
#[derive(Debug)]
pub(super) struct Log {
    #[cfg(feature = "otlp")]
    traces: Option<Traces>,
    last: LastLines<Stderr>,
}

/// Begins to log what is said through `tracing`. Texts of users are in no event and in no span.
pub(super) fn start(settings: &LogSettings) -> Result<Log, Error> {
    // The setting was checked when it was read.
    let filter = EnvFilter::try_new(&settings.filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let (lines, last) = Lines::to(io::stderr());
    let lines = fmt::layer().with_writer(lines);
    let lines = match settings.format {
        LogFormat::Human => lines.with_ansi(false).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let subscriber = tracing_subscriber::registry().with(lines.with_filter(filter));
    #[cfg(feature = "otlp")]
    let traces = settings.otlp_endpoint.as_deref().map(Traces::to).transpose()?;
    #[cfg(feature = "otlp")]
    let subscriber = subscriber.with(traces.as_ref().map(Traces::layer));
    // Another subscriber in the process would be a fault of this program, and no reason not to serve.
    let _ = subscriber.try_init();
    Ok(Log {
        #[cfg(feature = "otlp")]
        traces,
        last,
    })
}

impl Log {
    /// Sends what is left of the traces, and writes what is left of the lines.
    #[cfg_attr(not(feature = "otlp"), expect(clippy::unused_async, reason = "there is nothing to wait for"))]
    pub(super) async fn finish(self) {
        #[cfg(feature = "otlp")]
        if let Some(traces) = self.traces {
            traces.finish().await;
        }
        drop(self.last);
    }
}
