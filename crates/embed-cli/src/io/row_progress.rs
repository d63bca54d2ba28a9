//! The progress of rows: a bar on a terminal, a last line otherwise, nothing when quiet.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Counts rows, and shows a bar of the input's bytes or of the rows, if their number is known.
pub(crate) struct RowProgress {
    bar: ProgressBar,
    summary: bool,
}

impl RowProgress {
    /// A bar of the bytes of an input. `output_is_file` says that rows don't go to the terminal, where they would mix with
    /// the bar.
    pub(crate) fn new(bytes: Option<u64>, quiet: bool, output_is_file: bool) -> Self {
        let free = output_is_file || !io::stdout().is_terminal();
        let template = match bytes {
            Some(_) => "{bar:30} {percent:>3}%  {msg}  {elapsed} gone, {eta} left",
            None => "{spinner} {msg}  {elapsed} gone",
        };
        Self::draw(bytes, template, quiet || !free, quiet)
    }

    /// A bar of rows, some of which are from an earlier run and don't count for the speed of this one.
    pub(crate) fn of_rows(rows: u64, done: u64, quiet: bool) -> Self {
        let template = "{bar:30} {percent:>3}%  {pos} of {len} rows, {msg}  {elapsed} gone, {eta} left";
        let progress = Self::draw(Some(rows), template, quiet, quiet);
        progress.bar.set_position(done);
        progress.bar.reset_eta();
        progress
    }

    fn draw(length: Option<u64>, template: &str, hidden: bool, quiet: bool) -> Self {
        let terminal = io::stderr().is_terminal();
        let target =
            if terminal && !hidden { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(length, target);
        // A template that doesn't parse would be a bug of this file; the default style is used then.
        bar.set_style(
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar, summary: terminal && !quiet }
    }

    /// Shows how many rows there are, and how fast, if the number of tokens is known.
    pub(crate) fn advance(&self, rows: u64, tokens: Option<u64>, bytes: u64) {
        let rate = tokens.map(|tokens| tokens as f64 / self.bar.elapsed().as_secs_f64().max(1e-3));
        let rate = rate.map_or(String::new(), |rate| format!(", {rate:.0} tokens/s"));
        self.show(bytes, format!("{rows} texts{rate}"));
    }

    /// Sets the position of the bar and the text next to it.
    pub(crate) fn show(&self, position: u64, message: String) {
        self.bar.set_position(position);
        self.bar.set_message(message);
    }

    /// Writes a line above the bar, if there is one.
    pub(crate) fn say(&self, line: &str) {
        self.bar.println(line);
    }

    /// Removes the bar and, on a terminal, says what was done.
    pub(crate) fn finish(&self, summary: &str) {
        self.clear();
        if self.summary {
            // A closed standard error is no reason to fail.
            let _ = writeln!(io::stderr(), "{summary}");
        }
    }

    /// Removes the bar.
    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}
