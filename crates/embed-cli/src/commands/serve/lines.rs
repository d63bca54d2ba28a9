//! The lines of the log on their way out: gathered for a moment, since a system call for each is time of each answer.

use std::io::{self, Write};
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// For how long lines are gathered. A process that is killed without notice loses those of this time.
const GATHERED: Duration = Duration::from_millis(10);
/// Bytes that wait at most, about six thousand lines; then whoever adds one writes them all, and waits for it.
const MOST: usize = 1 << 20;

/// Where lines are written to.
///
/// Warnings and errors are written at once, with all that was said before them.
#[derive(Debug)]
pub(super) struct Lines<W> {
    shared: Arc<Shared<W>>,
}

/// Writes what is left when it is dropped; what is said later is written at once.
#[derive(Debug)]
pub(super) struct LastLines<W: Write>(Arc<Shared<W>>);

#[derive(Debug)]
struct Shared<W> {
    waiting: Mutex<Waiting>,
    /// Held while lines are taken and written, so that they come out in their order.
    out: Mutex<Out<W>>,
    first: Notify,
}

#[derive(Debug)]
struct Waiting {
    lines: Vec<u8>,
    /// Nobody gathers: each line is written at once.
    at_once: bool,
}

#[derive(Debug)]
struct Out<W> {
    to: W,
    /// Empty but while it is written: the room of the lines before.
    lines: Vec<u8>,
}

/// One line.
#[derive(Debug)]
pub(super) struct Line<'a, W> {
    shared: &'a Shared<W>,
    urgent: bool,
}

impl<W: Write + Send + 'static> Lines<W> {
    /// Gathers lines, in a task that ends with the runtime.
    pub(super) fn to(to: W) -> (Self, LastLines<W>) {
        let shared = Arc::new(Shared {
            waiting: Mutex::new(Waiting { lines: Vec::new(), at_once: false }),
            out: Mutex::new(Out { to, lines: Vec::new() }),
            first: Notify::new(),
        });
        let gathering = Arc::clone(&shared);
        tokio::spawn(async move {
            loop {
                gathering.first.notified().await;
                tokio::time::sleep(GATHERED).await;
                let writing = Arc::clone(&gathering);
                // Whoever reads standard error may be slow.
                let _ = tokio::task::spawn_blocking(move || writing.write_out()).await;
            }
        });
        (Self { shared: Arc::clone(&shared) }, LastLines(shared))
    }
}

impl<W: Write> Shared<W> {
    fn add(&self, line: &[u8], urgent: bool) {
        let mut waiting = lock(&self.waiting);
        let is_first = waiting.lines.is_empty();
        waiting.lines.extend_from_slice(line);
        let now = urgent || waiting.at_once || waiting.lines.len() > MOST;
        drop(waiting);
        if now {
            self.write_out();
        } else if is_first {
            self.first.notify_one();
        }
    }

    fn write_out(&self) {
        let mut out = lock(&self.out);
        let Out { to, lines } = &mut *out;
        mem::swap(lines, &mut lock(&self.waiting).lines);
        // Who has no standard error gets no log, and is served all the same.
        let _ = to.write_all(lines).and_then(|()| to.flush());
        lines.clear();
    }
}

/// No holder panics half-way, so what a poisoned lock holds is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<W: Write> Drop for LastLines<W> {
    fn drop(&mut self) {
        lock(&self.0.waiting).at_once = true;
        self.0.write_out();
    }
}

impl<'a, W: Write + 'a> MakeWriter<'a> for Lines<W> {
    type Writer = Line<'a, W>;

    fn make_writer(&'a self) -> Line<'a, W> {
        Line { shared: &self.shared, urgent: true }
    }

    fn make_writer_for(&'a self, about: &Metadata<'_>) -> Line<'a, W> {
        Line { shared: &self.shared, urgent: *about.level() <= Level::WARN }
    }
}

impl<W: Write> Write for Line<'_, W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.shared.add(line, self.urgent);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was written, one element for each write.
    #[derive(Debug, Clone, Default)]
    struct Sink(Arc<Mutex<Vec<String>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            lock(&self.0).push(String::from_utf8(bytes.to_vec()).unwrap());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Sink {
        fn written(&self) -> Vec<String> {
            lock(&self.0).clone()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn lines_are_gathered_and_written_soon() {
        let sink = Sink::default();
        let (lines, _last) = Lines::to(sink.clone());
        lines.shared.add(b"a\n", false);
        lines.shared.add(b"b\n", false);
        assert!(sink.written().is_empty());
        while sink.written().is_empty() {
            tokio::time::advance(GATHERED).await;
        }
        assert_eq!(sink.written(), ["a\nb\n"]);
        lines.shared.add(b"c\n", false);
        while sink.written().len() == 1 {
            tokio::time::advance(GATHERED).await;
        }
        assert_eq!(sink.written(), ["a\nb\n", "c\n"]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_urgent_line_is_written_at_once_after_those_before_it() {
        let sink = Sink::default();
        let (lines, _last) = Lines::to(sink.clone());
        lines.shared.add(b"a\n", false);
        lines.shared.add(b"failed\n", true);
        assert_eq!(sink.written(), ["a\nfailed\n"]);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_lost_at_the_end_or_after_it() {
        let sink = Sink::default();
        let (lines, last) = Lines::to(sink.clone());
        lines.shared.add(b"a\n", false);
        drop(last);
        lines.shared.add(b"b\n", false);
        assert_eq!(sink.written(), ["a\n", "b\n"]);
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_than_the_bound_waits() {
        let sink = Sink::default();
        let (lines, _last) = Lines::to(sink.clone());
        let line = [b'x'; 1 << 10];
        (0..MOST / line.len()).for_each(|_| lines.shared.add(&line, false));
        assert!(sink.written().is_empty());
        lines.shared.add(&line, false);
        assert_eq!(sink.written().iter().map(String::len).sum::<usize>(), MOST + line.len());
    }
}
