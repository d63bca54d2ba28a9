//! `embed migrate` against a double of Ollama: what it writes, and that nothing is lost or doubled whatever happens.

use std::fmt::Write as _;
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

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

    /// The requests that a start takes before the first row.
    fn requests_to_start(&self) -> usize {
        let other = Self::new("");
        other.migrate();
        other.double.requests().len()
    }

    /// Starts, and waits until so many requests for rows have come.
    fn start_until(&self, requests: usize) -> Child {
        let before = self.double.requests().len() + self.requests_to_start();
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
    let mended = &collection.rows()[1];
    assert_eq!((&mended["truncated"], &mended["error"]), (&true.into(), &Value::Null));
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

#[test]
fn a_torn_or_damaged_end_is_made_anew() {
    let collection = Collection::new(&old_rows(100));
    collection.migrate();
    let whole = collection.written();
    let lines: Vec<_> = whole.split_inclusive('\n').collect();
    let torn = lines[..50].concat() + &lines[50][..100];
    let without_end = lines[..50].concat() + lines[50].trim_end();
    let zeros = lines[..50].concat() + &"\0".repeat(3000) + "\n" + lines[51];
    let doubled = lines[..50].concat() + lines[49] + lines[50];
    let gap = lines[..50].concat() + &lines[51..].concat();
    let more = whole.clone() + lines[0];
    for (damaged, kept) in [(torn, 50), (without_end, 50), (zeros, 50), (doubled, 50), (gap, 50), (more, 100)]
    {
        fs::remove_file(collection.output()).unwrap();
        collection.leave(&damaged);
        let run = collection.migrate();
        assert!(run.out.contains(&format!("{kept} of them earlier")), "{}", run.out);
        assert!(collection.written() == whole, "the output differs: {}", run.out);
    }
}

#[test]
fn rows_of_another_migration_are_not_gone_on_with() {
    let collection = Collection::new(&old_rows(100));
    collection.migrate();
    let whole = collection.written();
    fs::remove_file(collection.output()).unwrap();
    let some: String = whole.split_inclusive('\n').take(50).collect();
    collection.leave(&some);

    check_refused(&collection.run(&["--role", "query"]), &["differs: --role", "--restart"]);
    check_refused(&collection.run(&["--truncate", "end"]), &["differs: --truncate", "--restart"]);
    collection.double.change(|script| script.digest = script.digest.replace('1', "2"));
    check_refused(&collection.run(&[]), &["differs: the model", "--restart"]);
    collection.double.change(|script| script.digest = script.digest.replace('2', "1"));
    fs::write(collection.input(), old_rows(101)).unwrap();
    check_refused(&collection.run(&[]), &["differs: the input", "--restart"]);
    fs::write(collection.input(), old_rows(100)).unwrap();
    fs::rename(collection.job(), collection.folder.path().join("elsewhere")).unwrap();
    check_refused(&collection.run(&[]), &["nothing says of what", "--restart"]);
    fs::rename(collection.folder.path().join("elsewhere"), collection.job()).unwrap();
    assert_eq!(fs::read_to_string(collection.partial()).unwrap(), some, "what was refused was touched");

    fs::write(collection.input(), old_rows(101)).unwrap();
    let run = collection.run(&["--restart"]);
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(!run.out.contains("earlier"), "{}", run.out);
    assert_eq!(collection.rows().len(), 101);
}

#[test]
fn a_death_between_the_last_two_steps_is_no_harm() {
    let collection = Collection::new(&old_rows(100));
    collection.leave("");
    let job = fs::read(collection.job()).unwrap();
    collection.migrate();
    let whole = collection.written();
    fs::write(collection.job(), &job).unwrap();
    let run = collection.migrate();
    assert!(run.out.contains("whole already"), "{}", run.out);
    assert!(collection.written() == whole);

    // Beside another output the job says nothing.
    fs::write(collection.job(), &job).unwrap();
    fs::write(collection.output(), &whole[..whole.len() / 2]).unwrap();
    check_refused(&collection.run(&[]), &["--force"]);
}

#[test]
fn two_processes_do_not_write_one_output() {
    let collection = Collection::new(&old_rows(2000));
    collection.double.change(|script| script.embed_time = Duration::from_millis(20));
    let first = collection.start_until(2);
    check_refused(&collection.run(&[]), &["another process"]);
    check_refused(&collection.run(&["--restart"]), &["another process"]);
    collection.double.change(|script| script.embed_time = Duration::ZERO);
    let run = wait(first);
    assert_eq!(run.code, Some(0), "{run:?}");
    assert_eq!(collection.rows().len(), 2000);
}

#[test]
fn a_back_end_that_goes_leaves_what_is_done_to_go_on_with() {
    let mut collection = Collection::new(&old_rows(2000));
    collection.migrate();
    let whole = collection.written();
    fs::remove_file(collection.output()).unwrap();
    let child = collection.start_until(20);
    let port = collection.double.port();
    drop(std::mem::replace(
        &mut collection.double,
        collection.runtime.block_on(OllamaDouble::start("0.9.3")),
    ));
    let run = wait(child);
    assert_eq!((run.code, run.out.as_str()), (Some(4), ""), "{run:?}");
    assert!(run.error().contains("the same command goes on (line: "), "{}", run.err);
    assert!(run.error().contains("rows kept: ") && run.error().contains("no server answers"), "{}", run.err);
    assert_eq!(collection.files(), ["new.jsonl.partial", "new.jsonl.partial.json"]);

    collection.double = collection.runtime.block_on(OllamaDouble::start_at("0.9.3", port));
    assert!(collection.migrate().out.contains("of them earlier"));
    assert!(collection.written() == whole);
}

#[test]
fn a_model_that_is_gone_is_no_error_of_each_row() {
    let collection = Collection::new(&old_rows(2000));
    collection.double.change(|script| script.embed_time = Duration::from_millis(1));
    let child = collection.start_until(5);
    let missing = || Fault::Error(404, "model \"all-minilm\" not found, try pulling it first".to_owned());
    collection.double.fail((0..100).map(|_| missing()));
    let run = wait(child);
    assert_eq!((run.code, run.out.as_str()), (Some(3), ""), "{run:?}");
    assert!(run.error().contains("ollama pull all-minilm"), "{}", run.err);
    collection.double.heal();
    assert!(collection.migrate().out.starts_with("2000 rows: 2000 embedded, 0 carried over, 0 failed"));
}

#[cfg(unix)]
#[test]
fn a_signal_ends_it_and_what_is_done_is_kept() {
    let collection = Collection::new(&old_rows(2000));
    for signal in ["TERM", "INT"] {
        collection.double.change(|script| script.embed_time = Duration::from_millis(2));
        let child = collection.start_until(10);
        let sent = Command::new("kill").args(["-s", signal, &child.id().to_string()]).status();
        assert!(sent.unwrap().success());
        let run = wait(child);
        assert_eq!((run.code, run.out.as_str()), (Some(4), ""), "{run:?}");
        assert!(
            run.error().contains("stopped by a signal; the same command goes on (rows kept: "),
            "{run:?}"
        );
        let partial = fs::read_to_string(collection.partial()).unwrap();
        assert!(partial.is_empty() || partial.ends_with('\n'), "a torn row");
    }
    collection.double.change(|script| script.embed_time = Duration::ZERO);
    assert!(collection.migrate().out.starts_with("2000 rows: 2000 embedded, 0 carried over, 0 failed"));
}

/// Must be seen: whenever it is killed, the same command goes on, and in the end nothing shows of it.
#[test]
fn twenty_thousand_rows_and_ten_kills_give_the_output_of_an_uninterrupted_run() {
    let collection = Collection::new(&old_rows(20_000));
    collection.migrate();
    let whole = collection.written();
    fs::remove_file(collection.output()).unwrap();

    let random = RandomState::new();
    let mut kept = 0;
    for kill_number in 0..10_u64 {
        // Fewer than there are requests in all, so that each run is killed before it ends.
        let requests = 1 + random.hash_one(kill_number) % 50;
        kill(collection.start_until(requests as usize));
        let rows = fs::read(collection.partial()).unwrap().iter().filter(|&&byte| byte == b'\n').count();
        assert!(rows >= kept, "{kept} rows were there and {rows} are left");
        kept = rows;
        assert!(!collection.output().exists());
    }
    let run = collection.migrate();
    assert!(run.out.starts_with("20000 rows: 20000 embedded, 0 carried over, 0 failed; "), "{}", run.out);
    assert!(run.out.contains(&format!("{kept} of them earlier")), "{kept}: {}", run.out);
    assert_eq!(whole.lines().count(), 20_000);
    assert!(collection.written() == whole, "the output differs from that of an uninterrupted run");
}

/// A full disk of 1 MiB that gets larger.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_keeps_what_is_done() {
    let collection = Collection::new(&old_rows(500));
    collection.migrate();
    let mount = Command::new("unshare").args(["--mount", "--map-root-user", "true"]).status();
    let may_mount = mount.map_err(|error| error.to_string()).and_then(|status| {
        if status.success() { Ok(()) } else { Err("mounting isn't allowed here".to_owned()) }
    });
    if embed_testkit::require("a mount namespace", may_mount).is_none() {
        return;
    }
    let small = collection.folder.path().join("small");
    fs::create_dir(&small).unwrap();
    let script = format!(
        "mount -t tmpfs -o size=1m none '{small}'\n\
         migrate() {{ '{embed}' migrate --service ollama --ollama-url '{url}' --from-space old \
         --input '{input}' --output '{small}/new.jsonl'; }}\n\
         migrate && exit 90; [ $? = 3 ] || exit 91\n\
         migrate 2> /dev/null && exit 92; [ $? = 3 ] || exit 93\n\
         mount -o remount,size=64m '{small}' && migrate && cmp '{small}/new.jsonl' '{output}'",
        small = path(&small),
        embed = env!("CARGO_BIN_EXE_embed"),
        url = collection.double.url(),
        input = path(&collection.input()),
        output = path(&collection.output()),
    );
    let run: Run = Command::new("unshare")
        .args(["--mount", "--map-root-user", "sh", "-c", &script])
        .output()
        .unwrap()
        .into();
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(run.error().contains("the disk is full") && run.error().contains("rows kept: "), "{}", run.err);
    assert!(run.out.contains("of them earlier"), "{}", run.out);
}

/// Rows that are carried over keep the whole path busy; the last row hangs, so that the peak can be read.
#[cfg(target_os = "linux")]
#[test]
fn two_hundred_thousand_rows_take_no_more_memory_than_a_thousand() {
    let peak = |rows: usize| {
        let there = format!("{{\"space\":\"{TARGET}\",\"text\":\"{}\"}}\n", "word ".repeat(20)).repeat(rows);
        let collection = Collection::new(&(there + &old_rows(1)));
        let child = collection.start_until(0);
        collection.double.change(|script| script.embed_time = Duration::from_secs(600));
        let requests = collection.double.requests().len();
        collection.runtime.block_on(collection.double.reached(requests + 1));
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
