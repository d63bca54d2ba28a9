//! One JSON object a line.

use std::borrow::Cow;
use std::io::{self, BufWriter, Write};

use embed_core::{EmbeddingRef, Error, Role};
use serde::Serialize;
use serde_json::ser::Formatter;
use serde_json::value::RawValue;

use super::destination::OutputFile;
use super::row::{OutputRow, RowWriter, flushed};

pub(super) struct JsonlWriter {
    pub(super) out: BufWriter<OutputFile>,
    /// Whether rows contain their text and its role.
    pub(super) with_text: bool,
}

/// Escapes the characters that other languages treat as line ends (U+0085, U+2028, U+2029), so that a JSON line is one
/// line for every reader.
pub(crate) struct OneLine;

/// The same for JSON that is already serialised.
pub(crate) fn escape_separators(json: &str) -> Cow<'_, str> {
    const SEPARATORS: [char; 3] = ['\u{85}', '\u{2028}', '\u{2029}'];
    if !json.contains(SEPARATORS) {
        return Cow::Borrowed(json);
    }
    // JSON has none of them outside of strings.
    json.replace('\u{85}', "\\u0085").replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029").into()
}

impl Formatter for OneLine {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        writer.write_all(escape_separators(fragment).as_bytes())
    }

    fn write_raw_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        writer.write_all(escape_separators(fragment).as_bytes())
    }
}

/// Writes a value as one line for every reader, without its end.
pub(crate) fn write_line(out: impl Write, value: &impl Serialize) -> serde_json::Result<()> {
    value.serialize(&mut serde_json::Serializer::with_formatter(out, OneLine))
}

/// The fields, in the order in which the command promises to write them.
#[derive(Serialize)]
struct OutputLine<'a> {
    index: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<Role>,
    #[serde(flatten)]
    outcome: RowOutcome<'a>,
}

/// The fields about the vector; all others are about the text.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum RowOutcome<'a> {
    Row {
        space: &'a str,
        service: &'a str,
        model: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        route: Option<&'a str>,
        dimension: usize,
        /// Left out if the service doesn't report it.
        #[serde(skip_serializing_if = "Option::is_none")]
        tokens: Option<usize>,
        truncated: bool,
        embedding: &'a [f32],
    },
    Failed {
        error: ErrorObject<'a>,
    },
}

#[derive(Serialize)]
pub(crate) struct ErrorObject<'a> {
    kind: &'a str,
    message: String,
}

impl RowOutcome<'_> {
    /// The fields of every result.
    pub(crate) const FIELDS: [&'static str; 9] =
        ["space", "service", "model", "route", "dimension", "tokens", "truncated", "embedding", "error"];
}

impl<'a> From<Result<EmbeddingRef<'a>, &'a Error>> for RowOutcome<'a> {
    fn from(row: Result<EmbeddingRef<'a>, &'a Error>) -> Self {
        match row {
            Ok(embedding) => {
                let info = embedding.info();
                Self::Row {
                    space: info.model.space().id(),
                    service: info.model.service(),
                    model: info.model.name(),
                    route: info.route.as_deref(),
                    dimension: info.model.dimension(),
                    tokens: info.tokens.map(|tokens| tokens.total),
                    truncated: info.truncated,
                    embedding: embedding.vector(),
                }
            }
            Err(error) => Self::Failed {
                error: ErrorObject { kind: error.kind().as_str(), message: error.to_string() },
            },
        }
    }
}

impl RowWriter for JsonlWriter {
    fn write(&mut self, row: &OutputRow<'_>) -> io::Result<()> {
        let text = row.input.text.as_deref().ok().filter(|_| self.with_text);
        let line = OutputLine {
            index: row.index,
            id: row.input.id.as_deref(),
            text,
            role: text.map(|_| row.input.role),
            outcome: row.row.into(),
        };
        write_line(&mut self.out, &line)?;
        self.out.write_all(b"\n")
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn finish(self: Box<Self>, _summary: &str) -> io::Result<OutputFile> {
        flushed(self.out)
    }
}
