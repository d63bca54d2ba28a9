//! `embed migrate` against a double of Ollama: what it reads, writes and refuses.

mod interrupted;
#[cfg(feature = "parquet")]
mod tables;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use embed_testkit::ollama::{Fault, OllamaDouble};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::{Run, embed, path};

const TARGET: &str = "all-minilm/mean/plain/l2/384";

/// A back end, and a folder with a collection in the space `old`.
struct Collection {
    runtime: Runtime,
    double: OllamaDouble,
    folder: TempDir,
}

impl Collection {
    fn new(input: &str) -> Self {
        let runtime = Runtime::new().unwrap();
        let double = runtime.block_on(OllamaDouble::start("0.9.3"));
        let folder = TempDir::new().unwrap();
        let this = Self { runtime, double, folder };
        fs::write(this.input(), input).unwrap();
        this
    }

    fn input(&self) -> PathBuf {
        self.folder.path().join("old.jsonl")
    }

    fn output(&self) -> PathBuf {
        self.folder.path().join("new.jsonl")
    }

    fn partial(&self) -> PathBuf {
        self.folder.path().join("new.jsonl.partial")
    }

    /// What says of what the partial output is.
    fn job(&self) -> PathBuf {
        self.folder.path().join("new.jsonl.partial.json")
    }

    fn written(&self) -> String {
        fs::read_to_string(self.output()).unwrap()
    }

    fn rows(&self) -> Vec<Value> {
        self.written().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The names in the folder beside the input.
    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| name != "old.jsonl");
        names.sort();
        names
    }

    fn command(&self, more: &[&str]) -> Command {
        self.command_from("old", &self.input(), &self.output(), more)
    }

    fn command_from(&self, space: &str, input: &Path, output: &Path, more: &[&str]) -> Command {
        let mut command = embed();
        command.args(["migrate", "--service", "ollama", "--ollama-url", &self.double.url()]);
        command.args(["--from-space", space, "--patience", "0"]);
        command.args(["--input", path(input), "--output", path(output)]);
        command.args(more).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, more: &[&str]) -> Run {
        self.command(more).output().unwrap().into()
    }

    /// Migrates, and checks that nothing was wrong and nothing but the output is left.
    fn migrate(&self) -> Run {
        let run = self.run(&[]);
        assert_eq!((run.code, run.err.as_str()), (Some(0), ""), "{run:?}");
        assert_eq!(self.files(), ["new.jsonl"]);
        run
    }

    /// The requests that a start takes before the first row, and how many of them embed something.
    fn requests_to_start(&self) -> (usize, usize) {
        let other = Self::new("");
        other.migrate();
        (other.double.requests().len(), other.double.requests_for("/api/embed").len())
    }

    /// Lets this go wrong with requests for rows, once so many were answered.
    fn fail_after(&self, requests: usize, faults: impl IntoIterator<Item = Fault>) {
        let (_, first) = self.requests_to_start();
        self.double.fail(vec![Fault::None; first + requests]);
        self.double.fail(faults);
    }

    /// Starts, and waits until so many requests for rows have come.
    fn start_until(&self, requests: usize) -> Child {
        let before = self.double.requests().len() + self.requests_to_start().0;
        let child = self.command(&[]).spawn().unwrap();
        self.runtime.block_on(self.double.reached(before + requests));
        child
    }

    /// Leaves behind what a killed process would: its job, and these rows.
    fn leave(&self, rows: &str) {
        kill(self.start_until(1));
        fs::write(self.partial(), rows).unwrap();
    }
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

fn wait(child: Child) -> Run {
    child.wait_with_output().unwrap().into()
}

/// Rows in the space `old`, as somebody might keep them.
fn old_rows(count: usize) -> String {
    (0..count).fold(String::new(), |mut rows, index| {
        let _ = writeln!(
            rows,
            r#"{{"id":"row {index}","space":"old","embedding":[0.5,-0.25],"text":"passage {index} of a book","meta":{{"page":{index}.0}}}}"#
        );
        rows
    })
}

fn check_refused(run: &Run, words: &[&str]) {
    assert_eq!((run.code, run.out.as_str()), (Some(3), ""), "{run:?}");
    for word in words {
        assert!(run.error().contains(word), "{word}: {}", run.err);
    }
}

#[test]
fn rows_get_new_vectors_and_keep_all_else_in_its_place() {
    let there = format!(r#"{{ "space":"{TARGET}" , "id":1e2,"embedding":[1.50], "n":1}}"#);
    let input = format!(
        "{}\n{there}\r\n{}\n{}\n",
        r#"{"meta":{"b":1.0,"a":[1e2]},"id":7,"dimension":2,"embedding":[1,2],"space":"old","text":"a river"}"#,
        r#"{"id":7,"space":"old","text":"the same id","role":"query","tokens":99}"#,
        r#"{"id":7,"space":"old","text":"the same id"}"#,
    );
    let collection = Collection::new(&input);
    let run = collection.migrate();
    assert!(run.out.starts_with("4 rows: 3 embedded, 1 carried over, 0 failed; "), "{}", run.out);

    let written = collection.written();
    let lines: Vec<_> = written.lines().collect();
    assert!(
        lines[0].starts_with(r#"{"meta":{"b":1.0,"a":[1e2]},"id":7,"dimension":384,"embedding":["#),
        "{written}"
    );
    assert_eq!(lines[1], there);
    assert!(lines[2].contains(r#""role":"query","tokens":5,"#), "{written}");
    for (row, text) in [(0, "a river"), (2, "the same id"), (3, "the same id")] {
        let row: Value = serde_json::from_str(lines[row]).unwrap();
        assert_eq!(
            (&row["space"], &row["service"], &row["text"]),
            (&TARGET.into(), &"ollama".into(), &text.into())
        );
        let vector: Vec<f32> = serde_json::from_value(row["embedding"].clone()).unwrap();
        let cosine = embed_core::vector::cosine(&vector, &collection.double.vector_of(text)).unwrap();
        assert!(cosine > 0.9999, "{cosine}");
    }
}

#[test]
fn what_encode_writes_with_texts_can_be_migrated() {
    let collection = Collection::new("");
    let other = collection.runtime.block_on(OllamaDouble::start("0.9.3"));
    other.change(|script| script.model = "nomic-embed-text:latest".to_owned());
    let encode = |more: &[&str]| -> Run {
        let mut command = embed();
        command.args(["encode", "--service", "ollama", "--model", "nomic-embed-text", "--with-text"]);
        command.args(["--ollama-url", &other.url(), "a river", "", "a mountain"]).args(more);
        command.output().unwrap().into()
    };
    assert_eq!(encode(&["--format", "table"]).code, Some(2));
    let encoded = encode(&["--role", "query"]);
    let rows = encoded.rows();
    assert_eq!((&rows[0]["text"], &rows[0]["role"]), (&"a river".into(), &"query".into()));
    fs::write(collection.input(), &encoded.out).unwrap();

    let from = rows[0]["space"].as_str().unwrap();
    let (input, output) = (collection.input(), collection.output());
    let run: Run = collection.command_from(from, &input, &output, &["--to", TARGET]).output().unwrap().into();
    // The empty text failed before, and fails again.
    assert_eq!((run.code, run.err.as_str()), (Some(1), ""), "{run:?}");
    assert!(run.out.starts_with("3 rows: 2 embedded, 0 carried over, 1 failed; "), "{}", run.out);
    let rows = collection.rows();
    assert_eq!((&rows[0]["space"], &rows[0]["index"]), (&TARGET.into(), &0.into()));
    assert_eq!(rows[1]["error"]["kind"], "invalid_input");
    assert_eq!((&rows[2]["text"], &rows[2]["role"]), (&"a mountain".into(), &"query".into()));
}

#[test]
fn a_failed_row_keeps_its_place_and_is_tried_again_alone() {
    let long = "word ".repeat(600);
    let rows = [("good", "a"), ("long", &long), ("good too", "b")];
    let input = rows.map(|(id, text)| json!({"id": id, "space": "old", "text": text}).to_string()).join("\n");
    let collection = Collection::new(&input);
    let run = collection.run(&[]);
    assert_eq!((run.code, run.err.as_str()), (Some(1), ""), "{run:?}");
    assert!(run.out.contains("2 embedded, 0 carried over, 1 failed") && run.out.contains("new.jsonl to try"));
    let failed = &collection.rows()[1];
    let fields: Vec<_> = failed.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(fields, ["error", "id", "text"]);
    assert_eq!((&failed["id"], &failed["error"]["kind"]), (&"long".into(), &"input_too_long".into()));

    let first = collection.written();
    fs::rename(collection.output(), collection.input()).unwrap();
    let run = collection.run(&["--truncate", "end"]);
    assert!(run.out.starts_with("3 rows: 1 embedded, 2 carried over, 0 failed; "), "{run:?}");
    let second = collection.written();
    assert_eq!(first.lines().next(), second.lines().next());
    assert_eq!(first.lines().last(), second.lines().last());
    let fixed = &collection.rows()[1];
    assert_eq!((&fixed["truncated"], &fixed["error"]), (&true.into(), &Value::Null));
}

#[test]
fn an_empty_collection_stays_one() {
    let collection = Collection::new("");
    let run = collection.migrate();
    assert!(run.out.starts_with("0 rows: 0 embedded, 0 carried over, 0 failed; "), "{}", run.out);
    assert_eq!(collection.written(), "");
}

#[test]
fn a_line_that_cannot_be_migrated_is_named_before_anything_is_written() {
    for (line, words) in [
        (r#"{"id":2,"space":"third","text":"secret"}"#, "neither of the two spaces"),
        (r#"{"id":2,"text":"secret"}"#, "names no `space`"),
        (r#"{"id":2,"space":"old"}"#, "no `text`"),
        (r#"{"id":2,"space":"old","text":"secret""#, "not a JSON object"),
        ("", "not a JSON object"),
    ] {
        let collection = Collection::new(&format!("{}{line}\n{}{line}\n", old_rows(40), old_rows(1)));
        let run = collection.run(&[]);
        check_refused(&run, &["line: 41", "bad lines: 2", words]);
        assert!(!run.err.contains("secret"), "{}", run.err);
        assert!(collection.files().is_empty(), "{:?}", collection.files());
    }
}

#[test]
fn spaces_and_places_that_do_not_fit_are_refused() {
    let collection = Collection::new(&old_rows(3));
    check_refused(&collection.run(&["--to", "all-minilm/mean/plain/l2/128"]), &["--service", TARGET]);
    let folder = collection.folder.path();
    let (input, output, nowhere) =
        (collection.input(), collection.output(), folder.join("nowhere/new.jsonl"));
    for (input, output, words) in [
        (input.as_path(), folder, "is a folder"),
        (&input, &nowhere, "folder doesn't exist"),
        (folder, &output, "not a file"),
        (Path::new("no/such/file"), &output, "no/such/file"),
    ] {
        check_refused(&collection.command_from("old", input, output, &[]).output().unwrap().into(), &[words]);
    }
    let run: Run = collection.command_from("old", &input, &input, &[]).output().unwrap().into();
    assert_eq!(run.code, Some(2), "{run:?}");
    assert!(collection.files().is_empty(), "{:?}", collection.files());

    fs::write(collection.output(), "mine").unwrap();
    check_refused(&collection.run(&[]), &["--force"]);
    assert_eq!(collection.written(), "mine");
    assert_eq!(collection.run(&["--force"]).code, Some(0));
    assert_eq!(collection.rows().len(), 3);
}

#[test]
fn rows_are_embedded_anew_in_their_own_space_only_if_asked() {
    let row = json!({"space": TARGET, "text": "a river", "embedding": [1.0]});
    let collection = Collection::new(&format!("{row}\n"));
    let (input, output) = (collection.input(), collection.output());
    let run = |more: &[&str]| -> Run {
        collection.command_from(TARGET, &input, &output, more).output().unwrap().into()
    };
    check_refused(&run(&[]), &["--same-space"]);
    let run = run(&["--same-space"]);
    assert_eq!(run.code, Some(0), "{run:?}");
    assert_eq!(collection.rows()[0]["embedding"].as_array().unwrap().len(), 384);
}

/// Rows that are carried over keep the whole path busy; the last row hangs, so that the peak can be read.
#[cfg(target_os = "linux")]
#[test]
fn two_hundred_thousand_rows_take_no_more_memory_than_a_thousand() {
    let peak = |rows: usize| {
        let there = format!("{{\"space\":\"{TARGET}\",\"text\":\"{}\"}}\n", "word ".repeat(20)).repeat(rows);
        let collection = Collection::new(&(there + &old_rows(1)));
        collection.fail_after(0, [Fault::Silence]);
        let child = collection.start_until(1);
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        kill(child);
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        peak.split_whitespace().next().unwrap().parse::<u64>().unwrap()
    };
    let (few, many) = (peak(1_000), peak(200_000));
    assert!(many < few + 16 * 1024, "{few} KiB for a thousand rows, {many} KiB for two hundred thousand");
}

#[test]
fn the_help_teaches_it() {
    let run: Run = embed().args(["migrate", "--help"]).output().unwrap().into();
    for word in ["--with-text", "OUTPUT.partial", "--restart", "--same-space", "tried again"] {
        assert!(run.out.contains(word), "{word}: {}", run.out);
    }
}
