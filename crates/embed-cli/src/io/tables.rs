//! Tables in files of Parquet and Arrow: their columns in, batches of rows out, and back.

use std::error::Error as StdError;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, Write};
use std::path::Path;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchReader};
use arrow_ipc::reader::{FileReader, StreamReader};
use arrow_ipc::writer::{FileWriter, StreamWriter};
use arrow_schema::{ArrowError, DataType, Schema, SchemaRef};
use embed_core::{Error, ErrorKind};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use crate::exit::file_error;

/// Rows that are read and written together: some megabytes with their vectors.
const ROWS_AT_ONCE: usize = 1024;

/// A row group is written once it has so many bytes, which are in memory until then.
const ROW_GROUP_BYTES: usize = 32 << 20;

/// An error of a library, which has that of the system inside if there is one.
pub(crate) type TableError = Box<dyn StdError + Send + Sync>;

/// A kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TableFormat {
    Parquet,
    /// Arrow's format of files, with a table of contents at the end.
    ArrowFile,
    /// Arrow's format of streams.
    ArrowStream,
}

/// Reads a table of any kind.
pub(crate) struct TableReader {
    schema: SchemaRef,
    batches: Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>> + Send>,
    /// What is left of a batch that is larger than those that are passed on.
    rest: Option<RecordBatch>,
}

/// Writes a table.
pub(crate) enum TableWriter<W: Write + Send> {
    Parquet(Box<ArrowWriter<W>>),
    ArrowFile(Box<FileWriter<W>>),
    ArrowStream(Box<StreamWriter<W>>),
}

impl TableFormat {
    /// The format of a file with this ending.
    pub(crate) fn by_ending(ending: &str) -> Option<Self> {
        match ending {
            "parquet" => Some(Self::Parquet),
            "arrow" => Some(Self::ArrowFile),
            "arrows" => Some(Self::ArrowStream),
            _ => None,
        }
    }
}

impl TableReader {
    /// Opens a file with those of its columns whose names are `wanted`. What kind of table it is its first bytes say.
    pub(crate) fn open(path: &Path, wanted: impl Fn(&str) -> bool) -> Result<Self, Error> {
        let open = || -> Result<(SchemaRef, Box<dyn RecordBatchReader + Send>), TableError> {
            let mut file = File::open(path)?;
            let mut start = [0; 6];
            let length = file.read(&mut start)?;
            file.rewind()?;
            let chosen = |schema: &Schema| -> Vec<usize> {
                let fields = schema.fields().iter().enumerate();
                fields.filter(|(_, field)| wanted(field.name())).map(|(at, _)| at).collect()
            };
            let (schema, reader): (_, Box<dyn RecordBatchReader + Send>) = match &start[..length] {
                [b'P', b'A', b'R', b'1', ..] => {
                    let builder = ParquetRecordBatchReaderBuilder::try_new(file)?;
                    let schema = Arc::clone(builder.schema());
                    let columns = ProjectionMask::roots(builder.parquet_schema(), chosen(&schema));
                    let builder = builder.with_projection(columns).with_batch_size(ROWS_AT_ONCE);
                    (schema, Box::new(builder.build()?))
                }
                b"ARROW1" => {
                    let schema = FileReader::try_new(BufReader::new(&file), None)?.schema();
                    file.rewind()?;
                    let columns = Some(chosen(&schema));
                    (schema, Box::new(FileReader::try_new(BufReader::new(file), columns)?))
                }
                _ => {
                    let schema = StreamReader::try_new(BufReader::new(&file), None)?.schema();
                    file.rewind()?;
                    let columns = Some(chosen(&schema));
                    (schema, Box::new(StreamReader::try_new(BufReader::new(file), columns)?))
                }
            };
            // Not every reader keeps what the table says of itself.
            let columns = reader.schema().as_ref().clone();
            Ok((Arc::new(columns.with_metadata(schema.metadata().clone())), reader))
        };
        let (schema, batches) = open().map_err(|error| unreadable(path, &*error))?;
        Ok(Self { schema, batches, rest: None })
    }

    /// The columns that are read, and what the table says of itself.
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The next rows, at least one.
    pub(crate) fn next(&mut self) -> Result<Option<RecordBatch>, ArrowError> {
        let batch = match self.rest.take() {
            Some(rest) => rest,
            None => loop {
                match self.batches.next().transpose()? {
                    None => return Ok(None),
                    Some(batch) if batch.num_rows() == 0 => {}
                    Some(batch) => break batch,
                }
            },
        };
        let rows = batch.num_rows().min(ROWS_AT_ONCE);
        self.rest = (rows < batch.num_rows()).then(|| batch.slice(rows, batch.num_rows() - rows));
        Ok(Some(batch.slice(0, rows)))
    }
}

impl<W: Write + Send> TableWriter<W> {
    /// Begins a table. Fails if its columns can't be written in this format.
    pub(crate) fn new(format: TableFormat, out: W, schema: &SchemaRef) -> Result<Self, TableError> {
        Ok(match format {
            TableFormat::Parquet => {
                let properties = WriterProperties::builder()
                    .set_compression(Compression::SNAPPY)
                    .set_max_row_group_bytes(Some(ROW_GROUP_BYTES))
                    .build();
                Self::Parquet(Box::new(ArrowWriter::try_new(out, Arc::clone(schema), Some(properties))?))
            }
            TableFormat::ArrowFile => Self::ArrowFile(Box::new(FileWriter::try_new(out, schema)?)),
            TableFormat::ArrowStream => Self::ArrowStream(Box::new(StreamWriter::try_new(out, schema)?)),
        })
    }

    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<(), TableError> {
        match self {
            Self::Parquet(writer) => writer.write(batch)?,
            Self::ArrowFile(writer) => writer.write(batch)?,
            Self::ArrowStream(writer) => writer.write(batch)?,
        }
        Ok(())
    }

    /// Writes the last part.
    pub(crate) fn finish(self) -> Result<W, TableError> {
        Ok(match self {
            Self::Parquet(writer) => writer.into_inner()?,
            Self::ArrowFile(writer) => writer.into_inner()?,
            Self::ArrowStream(writer) => writer.into_inner()?,
        })
    }
}

/// Whether a column of this type has strings.
pub(crate) fn is_of_strings(of: &DataType) -> bool {
    match of {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, values) => is_of_strings(values),
        // Nothing but nulls.
        DataType::Null => true,
        _ => false,
    }
}

/// The list in a row of a column of lists.
pub(crate) fn list_at(column: &ArrayRef, row: usize) -> Option<ArrayRef> {
    if column.is_null(row) {
        return None;
    }
    match column.data_type() {
        DataType::FixedSizeList(..) => Some(column.as_fixed_size_list().value(row)),
        DataType::List(_) => Some(column.as_list::<i32>().value(row)),
        DataType::LargeList(_) => Some(column.as_list::<i64>().value(row)),
        _ => None,
    }
}

pub(crate) fn unreadable(path: &Path, error: &(dyn StdError + 'static)) -> Error {
    failed("the table can't be read", path, error)
}

pub(crate) fn unwritable(path: &Path, error: &(dyn StdError + 'static)) -> Error {
    failed("the output can't be written", path, error)
}

/// An error of the system keeps its kind, which says what to do.
fn failed(what: &str, path: &Path, error: &(dyn StdError + 'static)) -> Error {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(of_system) = error.downcast_ref::<io::Error>() {
            let error = io::Error::new(of_system.kind(), of_system.to_string());
            return file_error(what, path.display(), error);
        }
        cause = error.source();
    }
    Error::new(ErrorKind::Config, what)
        .with_context("file", path.display())
        .with_source(io::Error::other(error.to_string()))
}
