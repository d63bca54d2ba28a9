//! Progress of long tasks.

use std::fmt;

use tokio::sync::mpsc;
use tokio::task;

use embed_core::{Error, ErrorKind};

/// Follows the progress of a task: a progress bar, a log, a test.
///
/// The task itself makes the calls, so they should return at once.
pub trait Progress: fmt::Debug + Send + Sync {
    /// A step begins or something is worth knowing. One sentence without a full stop.
    fn message(&self, text: &str);

    /// `done` bytes of `file` are there, out of `total` if that is known. The number falls when a file is started over.
    fn bytes(&self, file: &str, done: u64, total: Option<u64>);

    /// There will be no more [`bytes`](Self::bytes) of this file, whether it is complete or not.
    fn finished(&self, file: &str);
}

/// Ignores all progress.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn message(&self, _: &str) {}
    fn bytes(&self, _: &str, _: u64, _: Option<u64>) {}
    fn finished(&self, _: &str) {}
}

#[derive(Debug)]
enum ProgressEvent {
    Message(String),
    Bytes(String, u64, Option<u64>),
    Finished(String),
}

/// Relays progress from a blocking thread, to which a borrowed [`Progress`] can't be moved.
#[derive(Debug)]
struct Relay(mpsc::UnboundedSender<ProgressEvent>);

impl Relay {
    fn send(&self, event: ProgressEvent) {
        // Nobody listens any more if the caller has given up.
        let _ = self.0.send(event);
    }
}

impl Progress for Relay {
    fn message(&self, text: &str) {
        self.send(ProgressEvent::Message(text.to_owned()));
    }

    fn bytes(&self, file: &str, done: u64, total: Option<u64>) {
        self.send(ProgressEvent::Bytes(file.to_owned(), done, total));
    }

    fn finished(&self, file: &str) {
        self.send(ProgressEvent::Finished(file.to_owned()));
    }
}

/// Runs blocking work on another thread and relays its progress.
///
/// If the future is dropped, the work continues, so whatever it must not outlive has to be moved into it.
pub(crate) async fn blocking<T, F>(progress: &dyn Progress, work: F) -> Result<T, Error>
where
    T: Send + 'static,
    F: FnOnce(&dyn Progress) -> Result<T, Error> + Send + 'static,
{
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let task = task::spawn_blocking(move || work(&Relay(sender)));
    while let Some(event) = receiver.recv().await {
        match event {
            ProgressEvent::Message(text) => progress.message(&text),
            ProgressEvent::Bytes(file, done, total) => progress.bytes(&file, done, total),
            ProgressEvent::Finished(file) => progress.finished(&file),
        }
    }
    task.await.unwrap_or_else(|error| {
        Err(Error::new(ErrorKind::Internal, "a task of the asset store died").with_source(error))
    })
}
