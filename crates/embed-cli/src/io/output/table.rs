//! A table for people.

use std::io::{self, BufWriter, Write};

use unicode_width::UnicodeWidthStr;

use super::destination::OutputFile;
use super::row::{OutputRow, RowWriter, flushed};

/// Columns that a text may take on the screen.
const TEXT_COLUMNS: usize = 36;

pub(super) struct TableWriter {
    out: BufWriter<OutputFile>,
    started: bool,
}

impl TableWriter {
    pub(super) fn new(out: BufWriter<OutputFile>) -> Self {
        Self { out, started: false }
    }
}

impl RowWriter for TableWriter {
    fn write(&mut self, row: &OutputRow<'_>) -> io::Result<()> {
        if !self.started {
            self.started = true;
            writeln!(self.out, "{:>5}  {:>6}  {}  vector", "index", "tokens", pad("text", TEXT_COLUMNS))?;
        }
        let text = pad(row.input.text.as_deref().unwrap_or(""), TEXT_COLUMNS);
        match row.row {
            Ok(embedding) => {
                let info = embedding.info();
                let tokens = info.tokens.map_or(String::new(), |tokens| tokens.total.to_string());
                let head: Vec<_> =
                    embedding.vector().iter().take(4).map(|value| format!("{value:+.4}")).collect();
                let cut = if info.truncated { "  cut" } else { "" };
                // Where there are several models, each row says which one took it.
                let model = info.route.as_ref().map_or(String::new(), |_| format!("  {}", info.model.name()));
                writeln!(self.out, "{:>5}  {tokens:>6}  {text}  {} …{model}{cut}", row.index, head.join(" "))
            }
            Err(error) => {
                writeln!(self.out, "{:>5}  {:>6}  {text}  {}: {error}", row.index, "-", error.kind())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn finish(mut self: Box<Self>, summary: &str) -> io::Result<OutputFile> {
        writeln!(self.out, "{summary}")?;
        flushed(self.out)
    }
}

/// The text in exactly this many columns of a terminal, where a character may take two. Control characters are shown as
/// spaces, so that a text can't move the cursor.
pub(crate) fn pad(text: &str, columns: usize) -> String {
    let plain: String =
        text.chars().take(4 * columns).map(|c| if c.is_control() { ' ' } else { c }).collect();
    let fits = plain.width() <= columns && plain.len() == text.len();
    let room = if fits { columns } else { columns - 1 };
    let mut shown = String::new();
    for c in plain.chars() {
        shown.push(c);
        // Measured as a whole, since characters that join (an emoji and its skin tone) are narrower than their sum.
        if shown.width() > room {
            shown.pop();
            break;
        }
    }
    if !fits {
        shown.push('…');
    }
    let width = shown.width();
    shown + &" ".repeat(columns.saturating_sub(width))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_takes_the_same_width() {
        for text in ["", "short", "富士山の高さは何メートルですか", "a\u{1b}[2Jb", "é", "👍🏽 ok"]
        {
            assert_eq!(pad(text, 12).width(), 12, "{text:?}");
        }
        assert_eq!(pad("short", 8), "short   ");
        assert_eq!(pad("富士山", 5), "富士…");
        assert!(!pad("a\u{1b}b", 8).contains('\u{1b}'));
    }
}
