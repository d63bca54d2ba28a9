//! One JSON object a line.

use std::io::{self, Write};

use embed_core::{EmbeddingRef, Error, Role};
use serde::Serialize;
use serde_json::value::RawValue;

use super::{OutputRow, RowWriter};

pub(super) struct JsonlWriter<W> {
    pub(super) out: W,
    /// What the texts are for, if rows are to say it and their text.
    pub(super) text_role: Option<Role>,
}

/// The fields in the order in which they are written; part of the command's contract.
#[derive(Serialize)]
struct Line<'a> {
    index: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<Role>,
    #[serde(flatten)]
    outcome: Outcome<'a>,
}

/// What a line says of its vector: all that it says besides is the text's own.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Outcome<'a> {
    Row {
        space: &'a str,
        service: &'a str,
        model: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        route: Option<&'a str>,
        dimension: usize,
        tokens: Option<usize>,
        truncated: bool,
        embedding: &'a [f32],
    },
    Failed {
        error: Failure<'a>,
    },
}

#[derive(Serialize)]
pub(crate) struct Failure<'a> {
    kind: &'a str,
    message: String,
}

impl Outcome<'_> {
    /// The fields of every outcome.
    pub(crate) const FIELDS: [&'static str; 8] =
        ["space", "service", "model", "dimension", "tokens", "truncated", "embedding", "error"];
}

impl<'a> From<Result<EmbeddingRef<'a>, &'a Error>> for Outcome<'a> {
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
            Err(error) => {
                Self::Failed { error: Failure { kind: error.kind().as_str(), message: error.to_string() } }
            }
        }
    }
}

impl<W: Write> RowWriter for JsonlWriter<W> {
    fn write(&mut self, row: &OutputRow<'_>) -> io::Result<()> {
        let text = self.text_role.and(row.input.text.as_deref().ok());
        let line = Line {
            index: row.index,
            id: row.input.id.as_deref(),
            text,
            role: text.and(self.text_role),
            outcome: row.row.into(),
        };
        serde_json::to_writer(&mut self.out, &line)?;
        self.out.write_all(b"\n")
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
