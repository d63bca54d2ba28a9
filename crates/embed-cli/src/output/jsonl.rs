//! One JSON object a line.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::value::RawValue;

use super::{OutputRow, RowWriter};

pub(super) struct JsonlWriter<W>(pub(super) W);

/// The fields in the order in which they are written; part of the command's contract.
#[derive(Serialize)]
struct Line<'a> {
    index: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a RawValue>,
    #[serde(flatten)]
    outcome: Outcome<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Outcome<'a> {
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
struct Failure<'a> {
    kind: &'a str,
    message: String,
}

impl<W: Write> RowWriter for JsonlWriter<W> {
    fn write(&mut self, row: &OutputRow<'_>) -> io::Result<()> {
        let outcome = match row.row {
            Ok(embedding) => {
                let info = embedding.info();
                Outcome::Row {
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
                Outcome::Failed { error: Failure { kind: error.kind().as_str(), message: error.to_string() } }
            }
        };
        let line = Line { index: row.index, id: row.input.id.as_deref(), outcome };
        serde_json::to_writer(&mut self.0, &line)?;
        self.0.write_all(b"\n")
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
