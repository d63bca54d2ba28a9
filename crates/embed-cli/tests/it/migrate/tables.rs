//! Collections in Parquet and Arrow: the same promises as for JSON lines, and the columns that others are read by.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Int32Type, Int64Type};
use arrow_array::{
    Array, ArrayRef, FixedSizeListArray, Float64Array, Int64Array, ListArray, RecordBatch, RecordBatchReader,
    StringArray, StructArray,
};
use arrow_ipc::reader::{FileReader, StreamReader};
use arrow_ipc::writer::{FileWriter, StreamWriter};
use arrow_schema::{DataType, Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::{Collection, TARGET, check_refused, kill};
use crate::{Run, path};

const ENDINGS: [&str; 3] = ["parquet", "arrow", "arrows"];

/// A back end, and a table in the space `old` beside it.
struct Table {
    of: Collection,
    input: PathBuf,
    output: PathBuf,
}

impl Table {
    fn new(ending: &str, rows: &RecordBatch) -> Self {
        let of = Collection::new("");
        let file = |name: &str| of.folder.path().join(name).with_extension(ending);
        let (input, output) = (file("table"), file("new"));
        write(&input, rows);
        Self { of, input, output }
    }

    fn command(&self, more: &[&str]) -> std::process::Command {
        self.of.command_from("old", &self.input, &self.output, more)
    }

    fn run(&self, more: &[&str]) -> Run {
        self.command(more).output().unwrap().into()
    }

    fn migrate(&self) -> RecordBatch {
        let run = self.run(&[]);
        assert_eq!((run.code, run.err.as_str()), (Some(0), ""), "{run:?}");
        assert_eq!(self.names(), [name(&self.output)]);
        read(&self.output)
    }

    /// The names in the folder beside the inputs.
    fn names(&self) -> Vec<String> {
        let mut names = self.of.files();
        names.retain(|other| *other != name(&self.input));
        names
    }

    /// What an interrupted run leaves beside the output.
    fn left(&self, ending: &str) -> PathBuf {
        self.output.with_file_name(name(&self.output) + ending)
    }

    /// Starts, and kills it when so many requests for rows have come.
    fn kill_at(&self, requests: usize) {
        let before = self.of.double.requests().len() + self.of.requests_to_start().0;
        let child = self.command(&[]).spawn().unwrap();
        self.of.runtime.block_on(self.of.double.reached(before + requests));
        kill(child);
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, values)| (name, values, true)))
        .unwrap()
}

fn strings<const N: usize>(values: [Option<&str>; N]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

/// Rows that are all of the space `old`.
fn old_rows(count: usize) -> RecordBatch {
    let texts = (0..count).map(|row| Some(format!("passage {row} of a book")));
    let spaces = (0..count).map(|_| Some("old"));
    batch(vec![
        ("id", Arc::new(Int64Array::from_iter_values(0..count as i64))),
        ("text", Arc::new(texts.collect::<StringArray>())),
        ("space", Arc::new(spaces.collect::<StringArray>())),
    ])
}

fn write(path: &Path, rows: &RecordBatch) {
    let (out, schema) = (File::create(path).unwrap(), rows.schema());
    match path.extension().unwrap().to_str().unwrap() {
        "parquet" => {
            let mut writer = ArrowWriter::try_new(out, schema, None).unwrap();
            writer.write(rows).unwrap();
            writer.close().unwrap();
        }
        "arrow" => {
            let mut writer = FileWriter::try_new(out, &schema).unwrap();
            writer.write(rows).unwrap();
            writer.finish().unwrap();
        }
        _ => {
            let mut writer = StreamWriter::try_new(out, &schema).unwrap();
            writer.write(rows).unwrap();
            writer.finish().unwrap();
        }
    }
}

fn read(path: &Path) -> RecordBatch {
    let file = File::open(path).unwrap();
    let (schema, reader): (_, Box<dyn RecordBatchReader>) = match path.extension().unwrap().to_str().unwrap()
    {
        "parquet" => {
            let builder = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
            (Arc::clone(builder.schema()), Box::new(builder.build().unwrap()))
        }
        "arrow" => {
            let reader = FileReader::try_new(file, None).unwrap();
            (reader.schema(), Box::new(reader))
        }
        _ => {
            let reader = StreamReader::try_new(file, None).unwrap();
            (reader.schema(), Box::new(reader))
        }
    };
    let batches: Vec<_> = reader.map(Result::unwrap).collect();
    arrow_select::concat::concat_batches(&schema, &batches).unwrap()
}

fn vector(rows: &RecordBatch, column: &str, row: usize) -> Vec<f32> {
    let list = rows.column_by_name(column).unwrap().as_fixed_size_list().value(row);
    list.as_primitive::<Float32Type>().values().to_vec()
}

fn string<'a>(rows: &'a RecordBatch, column: &str, row: usize) -> Option<&'a str> {
    let column = rows.column_by_name(column).unwrap().as_string::<i32>();
    column.is_valid(row).then(|| column.value(row))
}

#[test]
fn rows_get_new_vectors_and_errors_and_all_other_columns_stay() {
    let long = "word ".repeat(600);
    let meta = StructArray::from(vec![(
        Arc::new(Field::new("page", DataType::Float64, true)),
        Arc::new(Float64Array::from(vec![1.0, 2.5, 3.0, 4.0, 5.0])) as ArrayRef,
    )]);
    let vectors = ListArray::from_iter_primitive::<arrow_array::types::Float64Type, _, _>([
        Some(vec![Some(0.5), Some(-0.25)]),
        Some((0..384).map(|at| Some(f64::from(at))).collect()),
        None,
        None,
        None,
    ]);
    let rows = batch(vec![
        ("tokens", Arc::new(Int64Array::from(vec![Some(9), Some(8), None, None, None]))),
        ("text", strings([Some("a river"), None, Some("a mountain"), Some(&long), None])),
        ("embedding", Arc::new(vectors)),
        ("meta", Arc::new(meta)),
        ("space", strings([Some("old"), Some(TARGET), None, Some("old"), None])),
        ("error", strings([None, None, Some("timeout: no"), None, Some("invalid_input: no text")])),
        ("role", strings([Some("query"), None, None, None, None])),
        ("variant", strings([Some("old;v=1"), Some("kept;v=1"), None, None, None])),
    ]);
    let note = HashMap::from([("note".to_owned(), "mine".to_owned())]);
    let noted = rows.schema().as_ref().clone().with_metadata(note);
    let rows = rows.with_schema(Arc::new(noted)).unwrap();
    for ending in ENDINGS {
        let table = Table::new(ending, &rows);
        let run = table.run(&[]);
        assert_eq!((run.code, run.err.as_str()), (Some(1), ""), "{run:?}");
        assert!(run.out.starts_with("5 rows: 2 embedded, 2 carried over, 1 failed; "), "{}", run.out);
        let made = read(&table.output);

        let (schema, before) = (made.schema(), rows.schema());
        assert_eq!(schema.metadata()["note"], "mine");
        let names = |of: &Schema| of.fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>();
        assert_eq!(names(&schema), names(&before));
        for kept in ["text", "meta", "role"] {
            assert_eq!(made.column_by_name(kept), rows.column_by_name(kept), "{kept}");
        }
        let list = schema.field_with_name("embedding").unwrap().data_type();
        assert!(matches!(list, DataType::FixedSizeList(of, 384) if *of.data_type() == DataType::Float32));
        for (row, text) in [(0, "a river"), (2, "a mountain")] {
            let vector = vector(&made, "embedding", row);
            let cosine = embed_core::vector::cosine(&vector, &table.of.double.vector_of(text)).unwrap();
            assert!(cosine > 0.9999, "{cosine}");
            assert_eq!((string(&made, "space", row), string(&made, "error", row)), (Some(TARGET), None));
            assert!(string(&made, "variant", row).unwrap().starts_with(TARGET));
        }
        assert_eq!(vector(&made, "embedding", 1), (0..384).map(|at| at as f32).collect::<Vec<_>>());
        assert_eq!(string(&made, "variant", 1), Some("kept;v=1"));
        let tokens = made.column_by_name("tokens").unwrap().as_primitive::<Int64Type>();
        assert_eq!((tokens.value(1), tokens.null_count()), (8, 2));
        for (row, words) in [(3, "input_too_long: "), (4, "invalid_input: no text")] {
            assert!(string(&made, "error", row).unwrap().starts_with(words));
            assert!(made.column_by_name("embedding").unwrap().is_null(row));
            assert_eq!((string(&made, "space", row), string(&made, "variant", row)), (None, None));
        }

        // What failed is tried again, alone.
        fs::rename(&table.output, &table.input).unwrap();
        let run = table.run(&["--truncate", "end"]);
        assert!(run.out.starts_with("5 rows: 1 embedded, 4 carried over, 0 failed; "), "{run:?}");
        let again = read(&table.output);
        assert_eq!(string(&again, "error", 3), None);
        assert_eq!(
            again.slice(0, 3).column_by_name("embedding"),
            made.slice(0, 3).column_by_name("embedding")
        );
    }
}

#[test]
fn a_table_without_the_columns_gets_them_and_any_kind_becomes_any_other() {
    for (from, to) in ENDINGS.iter().flat_map(|from| ENDINGS.map(|to| (*from, to))) {
        let mut table = Table::new(from, &old_rows(1500));
        table.output = table.output.with_extension(to);
        let made = table.migrate();
        let schema = made.schema();
        let names: Vec<_> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        assert_eq!(names, ["id", "text", "space", "vector", "variant", "tokens", "error"], "{from} to {to}");
        assert_eq!(made.column(0), old_rows(1500).column(0));
        assert_eq!(made.column_by_name("tokens").unwrap().as_primitive::<Int32Type>().len(), 1500);
        let cosine = embed_core::vector::cosine(
            &vector(&made, "vector", 1499),
            &table.of.double.vector_of("passage 1499 of a book"),
        );
        assert!(cosine.unwrap() > 0.9999);
    }
    assert_eq!(Table::new("parquet", &old_rows(0)).migrate().num_rows(), 0);
}

#[test]
fn whenever_it_is_killed_the_same_command_goes_on_to_the_same_bytes() {
    for ending in ENDINGS {
        let table = Table::new(ending, &old_rows(3000));
        table.migrate();
        let whole = fs::read(&table.output).unwrap();
        fs::remove_file(&table.output).unwrap();

        let mut kept = 0;
        for requests in [1, 30, 40] {
            table.kill_at(requests);
            assert!(!table.output.exists());
            let lines = fs::read(table.left(".partial")).unwrap();
            let rows = lines.iter().filter(|&&byte| byte == b'\n').count();
            assert!(rows >= kept, "{kept} rows were there and {rows} are left");
            kept = rows;
        }
        // The end of it may be torn, too.
        let lines = fs::read(table.left(".partial")).unwrap();
        fs::write(table.left(".partial"), [&lines[..], b"{\"row\":"].concat()).unwrap();
        let run = table.run(&[]);
        assert!(run.out.starts_with("3000 rows: 3000 embedded, 0 carried over, 0 failed; "), "{run:?}");
        assert!(run.out.contains(&format!("{kept} of them earlier")), "{kept}: {}", run.out);
        assert!(fs::read(&table.output).unwrap() == whole, "{ending}: the output differs");
        assert_eq!(table.names(), [name(&table.output)]);
    }
}

#[test]
fn a_death_after_the_output_is_there_is_no_harm() {
    let table = Table::new("parquet", &old_rows(200));
    table.kill_at(1);
    let job = fs::read(table.left(".partial.json")).unwrap();
    table.migrate();
    let whole = fs::read(&table.output).unwrap();
    for partial in [None, Some("{\"row\":1}\n")] {
        fs::write(table.left(".partial.json"), &job).unwrap();
        if let Some(rows) = partial {
            fs::write(table.left(".partial"), rows).unwrap();
        }
        let run = table.run(&[]);
        assert!(
            run.out.starts_with("200 rows: 200 embedded") && run.out.contains("whole already"),
            "{run:?}"
        );
        assert_eq!(table.names(), [name(&table.output)]);
        assert!(fs::read(&table.output).unwrap() == whole);
    }

    // Another table under this name is somebody's.
    fs::write(table.left(".partial.json"), &job).unwrap();
    fs::copy(&table.input, &table.output).unwrap();
    check_refused(&table.run(&[]), &["--force"]);
}

#[test]
fn what_cannot_be_migrated_is_named_before_anything_is_written() {
    let with = |name: &str, values: ArrayRef| {
        let mut columns = vec![
            ("text", strings([Some("secret"), Some("secret"), None])),
            ("space", strings([Some("old"), Some("old"), Some("old")])),
        ];
        columns.retain(|(other, _)| *other != name);
        columns.push((name, values));
        batch(columns)
    };
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
    let lists: ArrayRef = Arc::new(FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(
        (0..3).map(|_| Some([Some(1.0), Some(2.0)])),
        2,
    ));
    let spaces = strings([Some("old"), Some("third"), Some("third")]);
    let there = batch(vec![
        ("text", strings([None])),
        ("space", strings([Some(TARGET)])),
        ("vector", lists.slice(0, 1)),
    ]);
    for (rows, words) in [
        (with("id", Arc::clone(&numbers)), &["row: 3", "no `text`"][..]),
        (with("space", spaces), &["row: 2", "bad rows: 2", "neither of the two spaces"]),
        (with("space", strings([None, None, None])), &["row: 1", "bad rows: 3", "names no `space`"]),
        (with("role", strings([Some("chief"), None, None])), &["row: 1", "neither query nor document"]),
        (with("text", Arc::clone(&numbers)), &["column: text", "no strings"]),
        (with("variant", numbers), &["column: variant", "rename it"]),
        (there, &["row: 1", "dimension: 384"]),
        (batch(vec![("body", strings([Some("secret")]))]), &["column: text", "no such column"]),
    ] {
        for ending in ENDINGS {
            let table = Table::new(ending, &rows);
            let run = table.run(&[]);
            check_refused(&run, words);
            assert!(!run.err.contains("secret"), "{}", run.err);
            assert!(table.names().is_empty(), "{:?}", table.names());
        }
    }
}

#[test]
fn files_that_are_no_tables_or_of_another_kind_are_refused() {
    let table = Table::new("parquet", &old_rows(3));
    let lines = table.of.input();
    let refused = |input: &Path, output: &Path| -> Run {
        table.of.command_from("old", input, output, &[]).output().unwrap().into()
    };
    for (input, output) in [(&table.input, &lines), (&lines, &table.output)] {
        let run = refused(input, output);
        assert_eq!(run.code, Some(2), "{run:?}");
        assert!(run.err.contains("both tables"), "{}", run.err);
    }
    for bytes in [&b""[..], b"PAR1", b"ARROW1 and no more", b"{\"text\":\"a\"}\n"] {
        fs::write(&table.input, bytes).unwrap();
        check_refused(&table.run(&[]), &["the table can't be read", path(&table.input)]);
    }
}

#[test]
fn an_input_that_changes_under_way_is_noticed() {
    let table = Table::new("parquet", &old_rows(2000));
    table.kill_at(30);
    write(&table.input, &old_rows(2001));
    check_refused(&table.run(&[]), &["differs: the input", "--restart"]);
    let run = table.run(&["--restart"]);
    assert!(run.out.starts_with("2001 rows: 2001 embedded"), "{run:?}");
}
