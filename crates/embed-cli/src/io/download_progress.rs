//! The progress of fetching and checking: bars on a terminal, a line for each step elsewhere, nothing when quiet.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use embed_assets::Progress;
use indicatif::{DecimalBytes, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Shows progress on standard error.
pub(crate) struct DownloadProgress {
    quiet: bool,
    terminal: bool,
    area: MultiProgress,
    /// One for each file in progress. Without a terminal they aren't drawn, and only record that the file was announced.
    bars: Mutex<HashMap<String, ProgressBar>>,
}

impl DownloadProgress {
    pub(crate) fn new(quiet: bool) -> Self {
        let terminal = io::stderr().is_terminal();
        let target =
            if terminal && !quiet { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        Self { quiet, terminal, area: MultiProgress::with_draw_target(target), bars: Mutex::default() }
    }

    /// Writes a line above the bars, unless quiet.
    pub(crate) fn say(&self, line: &str) {
        if self.quiet {
            return;
        }
        // A closed standard error is no reason to fail.
        if self.terminal {
            let _ = self.area.println(line);
        } else {
            let _ = writeln!(io::stderr(), "{line}");
        }
    }

    fn bars(&self) -> MutexGuard<'_, HashMap<String, ProgressBar>> {
        self.bars.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, file: &str, total: Option<u64>) -> ProgressBar {
        let (bar, template) = match total {
            Some(total) => (
                ProgressBar::new(total),
                "  {msg:25} {bar:16} {decimal_bytes:>9} of {decimal_total_bytes:9} {eta:>4} left",
            ),
            None => (ProgressBar::new_spinner(), "  {msg:25} {decimal_bytes:>9}"),
        };
        if self.terminal {
            // A template that doesn't parse would be a bug of this file; the default style is used then.
            let style = ProgressStyle::with_template(template);
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            let bar = self.area.add(bar);
            bar.set_message(file.to_owned());
            return bar;
        }
        bar.set_draw_target(ProgressDrawTarget::hidden());
        match total {
            Some(total) => self.say(&format!("  {file}, {}", DecimalBytes(total))),
            None => self.say(&format!("  {file}")),
        }
        bar
    }
}

impl Progress for DownloadProgress {
    fn message(&self, text: &str) {
        self.say(text);
    }

    fn bytes(&self, file: &str, done: u64, total: Option<u64>) {
        if self.quiet {
            return;
        }
        let mut bars = self.bars();
        match bars.get(file) {
            Some(bar) => bar.set_position(done),
            None => {
                let bar = self.begin(file, total);
                // Bytes of an earlier pull don't count for this one's speed.
                bar.set_position(done);
                bar.reset_eta();
                bars.insert(file.to_owned(), bar);
            }
        }
    }

    fn finished(&self, file: &str) {
        if let Some(bar) = self.bars().remove(file) {
            bar.finish_and_clear();
        }
    }
}

impl fmt::Debug for DownloadProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DownloadProgress")
            .field("quiet", &self.quiet)
            .field("terminal", &self.terminal)
            .finish_non_exhaustive()
    }
}
