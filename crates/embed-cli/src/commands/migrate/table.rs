//! The rows of a table: what of its columns is about the text and its space.

use std::io;
use std::path::{Path, PathBuf};

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch, StringArray};
use arrow_cast::cast;
use arrow_schema::{ArrowError, DataType, Schema};
use embed_core::{Error, ErrorKind};
use serde_json::{Map, Value};

use super::row::{Fate, MigrationPlan, MigrationRow, RowUnit, TextToEmbed, no_text};
use super::source::{CollectionRows, Fingerprint, Hashed, open_file};
use crate::exit::file_error;
use crate::io::fields::{LineFields, refused};
use crate::io::tables::{TableReader, is_of_strings, list_at, unreadable};

/// The columns that a row is understood by; those of its role besides.
const TEXT: &str = "text";
const SPACE: &str = "space";
pub(super) const ERROR: &str = "error";

/// The names of the column of vectors. It is the first that a table has, and a table that has none gets the first.
const VECTOR: [&str; 2] = ["vector", "embedding"];

/// The rows of a table.
pub(super) struct TableRows {
    reader: TableReader,
    path: PathBuf,
    plan: MigrationPlan,
    vector: &'static str,
    batch: Option<Columns>,
    /// The next row of the batch.
    at: usize,
    number: u64,
    bytes: u64,
}

/// The columns of a batch. One that the table lacks is null in each row.
struct Columns {
    rows: usize,
    text: StringArray,
    space: StringArray,
    error: StringArray,
    vector: Option<ArrayRef>,
    /// Columns that say what the text is for.
    roles: Vec<(String, StringArray)>,
}

impl TableRows {
    /// Fails if the table has no column of texts.
    pub(super) fn open(path: &Path, plan: &MigrationPlan) -> Result<Self, Error> {
        let is_read = |name: &str| {
            [TEXT, SPACE, ERROR].contains(&name) || VECTOR.contains(&name) || LineFields::is_of_role(name)
        };
        let reader = TableReader::open(path, is_read)?;
        let (schema, vector) = (reader.schema(), vector_column(reader.schema()));
        for name in [TEXT, SPACE, ERROR] {
            let field = schema.field_with_name(name).ok();
            let wrong = match field {
                None if name == TEXT => "the table has no such column; rename the one that the texts are in",
                Some(field) if !is_of_strings(field.data_type()) => {
                    "the column has no strings; convert it, or rename it if it is about something else"
                }
                _ => continue,
            };
            let of = Error::new(ErrorKind::Config, wrong).with_context("file", path.display());
            return Err(of.with_context("column", name));
        }
        let plan = plan.clone();
        Ok(Self { reader, path: path.to_owned(), plan, vector, batch: None, at: 0, number: 0, bytes: 0 })
    }

    fn read(&self, columns: &Columns, row: usize) -> Result<MigrationRow, Error> {
        let space = columns.space.is_valid(row).then(|| columns.space.value(row));
        let line = |number| format!("{{\"row\":{number}}}");
        let has_text = columns.text.is_valid(row);
        match self.plan.fate(space, columns.error.is_valid(row))? {
            Fate::Carry if !self.has_vector(columns, row) => {
                return Err(refused(
                    "the row is in the new space, and its vector isn't a list of as many numbers",
                )
                .with_context("dimension", self.plan.dimension));
            }
            Fate::Carry => return Ok(MigrationRow::Carried(line(self.number))),
            // Nothing to try again: it keeps its error.
            Fate::TryAgain if !has_text => return Ok(MigrationRow::Carried(line(self.number))),
            Fate::Embed | Fate::TryAgain => {}
        }
        if !has_text {
            return Err(no_text());
        }
        let role = columns.role_fields(row)?.role()?.unwrap_or(self.plan.role);
        Ok(MigrationRow::Embedded(TextToEmbed {
            text: columns.text.value(row).into(),
            role,
            place: (RowUnit::Row, self.number),
            fields: LineFields::read(&line(self.number))?,
        }))
    }

    fn has_vector(&self, columns: &Columns, row: usize) -> bool {
        let vector = columns.vector.as_ref().and_then(|vectors| list_at(vectors, row));
        vector.is_some_and(|vector| {
            vector.len() == self.plan.dimension
                && vector.null_count() == 0
                && vector.data_type().is_floating()
        })
    }
}

impl CollectionRows for TableRows {
    fn unit(&self) -> RowUnit {
        RowUnit::Row
    }

    fn next(&mut self) -> Result<Option<Result<MigrationRow, Error>>, Error> {
        if self.batch.as_ref().is_none_or(|batch| self.at == batch.rows) {
            let read = self
                .reader
                .next()
                .and_then(|batch| batch.map(|batch| Columns::of(&batch, self.vector)).transpose());
            self.batch = read.map_err(|error| unreadable(&self.path, &error))?;
            self.at = 0;
        }
        let Some(columns) = &self.batch else { return Ok(None) };
        self.number += 1;
        self.bytes += columns.text.value_length(self.at).unsigned_abs() as u64;
        let row = self.read(columns, self.at);
        self.at += 1;
        Ok(Some(row))
    }

    fn number(&self) -> u64 {
        self.number
    }

    /// Those of the texts.
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn fingerprint(&self) -> Result<Fingerprint, Error> {
        fingerprint(&self.path, self.number)
    }
}

impl Columns {
    fn of(batch: &RecordBatch, vector: &str) -> Result<Self, ArrowError> {
        let strings = |name: &str| match batch.column_by_name(name) {
            Some(column) => Ok(cast(column, &DataType::Utf8)?.as_string::<i32>().clone()),
            None => Ok::<_, ArrowError>(StringArray::new_null(batch.num_rows())),
        };
        let names = batch.schema();
        let roles =
            names.fields().iter().map(|field| field.name()).filter(|name| LineFields::is_of_role(name));
        Ok(Self {
            rows: batch.num_rows(),
            text: strings(TEXT)?,
            space: strings(SPACE)?,
            error: strings(ERROR)?,
            vector: batch.column_by_name(vector).cloned(),
            roles: roles.map(|name| Ok((name.clone(), strings(name)?))).collect::<Result<_, ArrowError>>()?,
        })
    }

    /// The fields of a row that say what its text is for, as those of a line.
    fn role_fields(&self, row: usize) -> Result<LineFields, Error> {
        let given = self.roles.iter().filter(|(_, values)| values.is_valid(row));
        let fields: Map<String, Value> =
            given.map(|(name, values)| (name.clone(), values.value(row).into())).collect();
        LineFields::read(&Value::Object(fields).to_string())
    }
}

/// The name of the column of vectors.
pub(super) fn vector_column(schema: &Schema) -> &'static str {
    let there = VECTOR.into_iter().find(|name| schema.field_with_name(name).is_ok());
    there.unwrap_or(VECTOR[0])
}

/// Identifies the file as it is now.
pub(super) fn fingerprint(path: &Path, rows: u64) -> Result<Fingerprint, Error> {
    let mut file = Hashed::new(open_file(path)?);
    let bytes = io::copy(&mut file, &mut io::sink())
        .map_err(|error| file_error("the input can't be read", path.display(), error))?;
    Ok(Fingerprint { rows, bytes, sha256: file.sha256() })
}
