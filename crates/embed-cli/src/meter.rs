//! The progress of `embed encode`: a bar on a terminal, a last line otherwise, nothing when quiet.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Counts rows, and shows the bytes of the input as a bar where their number is known.
pub(crate) struct Meter {
    bar: ProgressBar,
    summary: bool,
}

impl Meter {
    /// `output_is_file` tells that rows don't go to the terminal, where they would mix with the bar.
    pub(crate) fn new(bytes: Option<u64>, quiet: bool, output_is_file: bool) -> Self {
        let terminal = io::stderr().is_terminal();
        let free = output_is_file || !io::stdout().is_terminal();
        let target = if terminal && free && !quiet {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let (bar, template) = match bytes {
            Some(bytes) => (
                ProgressBar::with_draw_target(Some(bytes), target),
                "{bar:30} {percent:>3}%  {msg}  {elapsed} gone, {eta} left",
            ),
            None => (ProgressBar::with_draw_target(None, target), "{spinner} {msg}  {elapsed} gone"),
        };
        // A template that doesn't parse would be a fault of this file; the default style serves.
        bar.set_style(
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar, summary: terminal && !quiet }
    }

    pub(crate) fn advance(&self, rows: u64, tokens: u64, bytes: u64) {
        self.bar.set_position(bytes);
        let rate = tokens as f64 / self.bar.elapsed().as_secs_f64().max(1e-3);
        self.bar.set_message(format!("{rows} texts, {rate:.0} tokens/s"));
    }

    /// Takes the bar away and, on a terminal, says what was done.
    pub(crate) fn finish(&self, summary: &str) {
        self.bar.finish_and_clear();
        if self.summary {
            // A closed standard error is no reason to fail.
            let _ = writeln!(io::stderr(), "{summary}");
        }
    }
}
