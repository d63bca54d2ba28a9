//! The output of a migration that is a table: the columns of the input, with those about the vector taken from the lines of the
//! unfinished output.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::builder::{BooleanBufferBuilder, Float32Builder};
use arrow_array::cast::AsArray;
use arrow_array::types::Float32Type;
use arrow_array::{ArrayRef, BooleanArray, FixedSizeListArray, RecordBatch, StringArray, new_null_array};
use arrow_cast::cast;
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use arrow_select::zip::zip;
use embed_core::{Error, ErrorKind};
use serde::{Deserialize, Serialize};

use super::job::MigrationJob;
use super::source::changed;
use super::table::{ERROR, fingerprint, vector_column};
use super::tally::RowCounts;
use crate::io::fields::LineFields;
use crate::io::lines::LineReader;
use crate::io::output::destination::Destination;
use crate::io::tables::{TableError, TableFormat, TableReader, TableWriter, list_at, unreadable, unwritable};

/// The columns about the vector besides itself that every output has.
const ADDED: [&str; 4] = ["space", VARIANT, "tokens", ERROR];
/// Those that are written where the input has them.
const RENEWED: [&str; 5] = ["service", "model", "route", "dimension", "truncated"];
const VARIANT: &str = "variant";

/// Under this name the table's own description says of which job its rows are.
const ORIGIN: &str = "embed.migration";

/// How the output is made out of the input.
pub(super) struct Assembly {
    input: PathBuf,
    format: TableFormat,
    dimension: usize,
    schema: SchemaRef,
    columns: Vec<Column>,
}

/// Where a column of the output is from, with its place in the input.
enum Column {
    Kept(usize),
    Vector(Option<usize>),
    /// Of strings, numbers or truth values, by the field of this name.
    Value(&'static str, Option<usize>),
}

/// The job of a table, and its result.
#[derive(Serialize, Deserialize)]
struct Origin {
    job: MigrationJob,
    counts: RowCounts,
}

/// The answers to the rows of a batch.
struct Answers<'a> {
    variant: &'a str,
    lines: Vec<LineFields>,
}

impl Assembly {
    /// Fails if the columns of the input are such that there can be no output in this format.
    pub(super) fn plan(input: &Path, format: TableFormat, dimension: usize) -> Result<Self, Error> {
        let reader = TableReader::open(input, |_| true)?;
        let (columns, fields) = columns(reader.schema(), format, dimension)
            .map_err(|error| error.with_context("file", input.display()))?;
        let schema = Arc::new(Schema::new_with_metadata(fields, reader.schema().metadata().clone()));
        TableWriter::new(format, io::sink(), &schema).map_err(|error| unwritable(input, &*error))?;
        Ok(Self { input: input.to_owned(), format, dimension, schema, columns })
    }

    /// Writes the output of a finished job. `answers` has a line for each row.
    pub(super) fn write(
        &self,
        job: &MigrationJob,
        counts: RowCounts,
        answers: &File,
        limit: usize,
        output: &Path,
    ) -> Result<(), Error> {
        let failed = |error: TableError| unwritable(output, &*error);
        let schema = self.with_origin(job, counts)?;
        let out = Destination::of(Some(output)).create(true)?;
        let mut writer = TableWriter::new(self.format, out, &schema).map_err(failed)?;
        let mut reader = TableReader::open(&self.input, |_| true)?;
        let mut lines = LineReader::new(BufReader::with_capacity(1 << 16, answers), limit);
        let unread = |error| unreadable(&self.input, &error);
        let mut rows = 0;
        while let Some(batch) = reader.next().map_err(unread)? {
            let answers = Answers {
                variant: &job.variant,
                lines: (0..batch.num_rows())
                    .map(|_| self.next_line(&mut lines))
                    .collect::<Result<_, Error>>()?,
            };
            writer.write(&self.batch(&schema, &batch, &answers).map_err(failed)?).map_err(failed)?;
            rows += batch.num_rows() as u64;
        }
        let out = writer.finish().map_err(failed)?;
        if fingerprint(&self.input, rows)? != job.input {
            return Err(changed(job.input.rows, rows));
        }
        out.finish().map_err(|error| failed(error.into()))
    }

    fn with_origin(&self, job: &MigrationJob, counts: RowCounts) -> Result<SchemaRef, Error> {
        let origin = serde_json::to_string(&Origin { job: job.clone(), counts })
            .map_err(|error| Error::new(ErrorKind::Internal, "a job can't be written").with_source(error))?;
        let mut metadata = self.schema.metadata().clone();
        metadata.insert(ORIGIN.to_owned(), origin);
        Ok(Arc::new(self.schema.as_ref().clone().with_metadata(metadata)))
    }

    fn next_line(&self, lines: &mut LineReader<BufReader<&File>>) -> Result<LineFields, Error> {
        let line = lines.next().map_err(|error| unreadable(&self.input, &error))?;
        let line = line.and_then(|line| String::from_utf8(line.bytes).ok()).ok_or_else(not_its_lines)?;
        LineFields::read(&line)
    }

    fn batch(
        &self,
        schema: &SchemaRef,
        input: &RecordBatch,
        answers: &Answers<'_>,
    ) -> Result<RecordBatch, TableError> {
        let carried: BooleanArray = answers.lines.iter().map(|line| Some(is_carried(line))).collect();
        let columns = self.columns.iter().zip(schema.fields()).map(|(column, field)| match *column {
            Column::Kept(at) => Ok(cast(input.column(at), field.data_type())?),
            Column::Vector(at) => self.vectors(at.map(|at| input.column(at)), answers),
            Column::Value(name, at) => {
                let made = cast(&answers.values(name), field.data_type())?;
                let before = match at {
                    Some(at) => cast(input.column(at), field.data_type())?,
                    None => new_null_array(field.data_type(), input.num_rows()),
                };
                Ok(zip(&carried, &before, &made)?)
            }
        });
        let columns = columns.collect::<Result<Vec<_>, TableError>>()?;
        Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
    }

    /// The column of vectors, null where there is none.
    fn vectors(&self, before: Option<&ArrayRef>, answers: &Answers<'_>) -> Result<ArrayRef, TableError> {
        let rows = answers.lines.len();
        let mut numbers = Float32Builder::with_capacity(rows * self.dimension);
        let mut is_there = BooleanBufferBuilder::new(rows);
        for (row, line) in answers.lines.iter().enumerate() {
            let kept = before.filter(|_| is_carried(line)).and_then(|vectors| list_at(vectors, row));
            let is_one = if let Some(vector) = line.get("embedding") {
                append(&mut numbers, vector.get())?;
                true
            } else if let Some(vector) = kept {
                let vector = cast(&vector, &DataType::Float32)?;
                numbers.append_slice(vector.as_primitive::<Float32Type>().values());
                true
            } else {
                numbers.append_value_n(0.0, self.dimension);
                false
            };
            is_there.append(is_one);
        }
        let numbers = Arc::new(numbers.finish());
        let nulls = Some(is_there.finish().into());
        let width = i32::try_from(self.dimension)?;
        Ok(Arc::new(FixedSizeListArray::try_new(item(), width, numbers, nulls)?))
    }
}

impl Answers<'_> {
    /// The values of a field as text; null where a line has none.
    fn values(&self, name: &str) -> StringArray {
        let of = |line: &LineFields| match name {
            VARIANT => line.get("embedding").map(|_| self.variant.to_owned()),
            ERROR => line.get(ERROR).and_then(|error| {
                let error: LineFields = serde_json::from_str(error.get()).ok()?;
                Some(format!("{}: {}", text_of(&error, "kind")?, text_of(&error, "message")?))
            }),
            _ => text_of(line, name),
        };
        self.lines.iter().map(of).collect()
    }
}

/// The result of this job, if the table is the output of it.
pub(super) fn counts_in(output: &Path, job: &MigrationJob) -> Option<RowCounts> {
    let reader = TableReader::open(output, |_| false).ok()?;
    let origin: Origin = serde_json::from_str(reader.schema().metadata().get(ORIGIN)?).ok()?;
    (origin.job == *job).then_some(origin.counts)
}

/// The columns of the output: those of the input in their places, and then what it lacks.
fn columns(
    input: &Schema,
    format: TableFormat,
    dimension: usize,
) -> Result<(Vec<Column>, Vec<Field>), Error> {
    let vector = vector_column(input);
    let width = i32::try_from(dimension)
        .map_err(|error| Error::new(ErrorKind::Config, "the vectors are too long").with_source(error))?;
    let list = DataType::FixedSizeList(item(), width);
    let (mut columns, mut fields) = (Vec::new(), Vec::new());
    for (at, field) in input.fields().iter().enumerate() {
        let field = field.as_ref().clone();
        let of_value = ADDED.iter().chain(&RENEWED).find(|name| *name == field.name());
        let (column, field) = match of_value {
            _ if field.name() == vector => {
                (Column::Vector(Some(at)), field.with_data_type(list.clone()).with_nullable(true))
            }
            Some(name) => {
                let of = value_type(name, field.data_type())?;
                (Column::Value(name, Some(at)), field.with_data_type(of).with_nullable(true))
            }
            None => {
                let of = kept_type(field.data_type(), format);
                (Column::Kept(at), field.with_data_type(of))
            }
        };
        columns.push(column);
        fields.push(field);
    }
    if input.field_with_name(vector).is_err() {
        columns.push(Column::Vector(None));
        fields.push(Field::new(vector, list, true));
    }
    for name in ADDED.iter().filter(|name| input.field_with_name(name).is_err()) {
        columns.push(Column::Value(name, None));
        fields.push(Field::new(*name, value_type(name, &DataType::Null)?, true));
    }
    Ok((columns, fields))
}

fn item() -> Arc<Field> {
    Arc::new(Field::new_list_field(DataType::Float32, true))
}

/// The type of a column about the vector: that of the input's if it can hold the values.
fn value_type(name: &str, before: &DataType) -> Result<DataType, Error> {
    use DataType::{
        Boolean, Dictionary, Float64, Int32, Int64, LargeUtf8, Null, UInt32, UInt64, Utf8, Utf8View,
    };
    if let Dictionary(_, values) = before {
        // The values of a model are few, but a file of Arrow can't get new ones on the way.
        return value_type(name, values);
    }
    let (of, others): (DataType, &[DataType]) = match name {
        "tokens" | "dimension" => (Int32, &[Int64, UInt32, UInt64, Float64]),
        "truncated" => (Boolean, &[]),
        _ => (Utf8, &[LargeUtf8, Utf8View]),
    };
    match before {
        Null => Ok(of),
        before if *before == of || others.contains(before) => Ok(before.clone()),
        before => Err(Error::new(
            ErrorKind::Config,
            "the column is about the vector and has another type; convert it, or rename it if it is about something else",
        )
        .with_context("column", name)
        .with_context("type", before)
        .with_context("expected", of)),
    }
}

/// A file of Arrow has one dictionary for all batches, and batches read from Parquet have their own.
fn kept_type(of: &DataType, format: TableFormat) -> DataType {
    match of {
        DataType::Dictionary(_, values) if format == TableFormat::ArrowFile => values.as_ref().clone(),
        of => of.clone(),
    }
}

/// Whether the row stays as it is.
fn is_carried(line: &LineFields) -> bool {
    line.get("embedding").is_none() && line.get(ERROR).is_none()
}

/// A string as it is, and any other value as written.
fn text_of(fields: &LineFields, name: &str) -> Option<String> {
    let value = fields.get(name)?.get();
    Some(serde_json::from_str(value).unwrap_or_else(|_| value.to_owned()))
}

/// Appends the numbers of an array of JSON. Rust reads single precision to the bit; serde_json goes by double precision.
fn append(numbers: &mut Float32Builder, array: &str) -> Result<(), TableError> {
    for number in array.trim_start_matches('[').trim_end_matches(']').split(',') {
        numbers.append_value(number.parse()?);
    }
    Ok(())
}

fn not_its_lines() -> Error {
    Error::new(ErrorKind::Internal, "the rows of the unfinished output are gone; start over with --restart")
}
