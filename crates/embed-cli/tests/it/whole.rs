//! What `embed encode --output` writes is whole under its name, or isn't there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use embed_testkit::ollama::OllamaDouble;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::{Run, embed, home, path, run};

const FORMATS: [&str; 3] = ["jsonl", "npy", "table"];

/// A back end that is slow, and a folder for outputs.
struct Slow {
    runtime: Runtime,
    double: OllamaDouble,
    folder: TempDir,
    input: TempDir,
}

impl Slow {
    fn new() -> Self {
        let runtime = Runtime::new().unwrap();
        let double = runtime.block_on(OllamaDouble::start("0.9.3"));
        let (folder, input) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let lines: String = (0..20_000).map(|line| format!("text {line}\n")).collect();
        fs::write(input.path().join("texts.txt"), lines).unwrap();
        Self { runtime, double, folder, input }
    }

    fn output(&self) -> PathBuf {
        self.folder.path().join("vectors")
    }

    fn command(&self, format: &str, output: &Path) -> Command {
        let input = self.input.path().join("texts.txt");
        let mut command = embed();
        command.args(["encode", "--service", "ollama", "--ollama-url", &self.double.url(), "--cache", "off"]);
        command.args(["--input", path(&input), "--format", format, "--output", path(output)]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Starts, and waits until rows are being written.
    fn start(&self, format: &str, more: &[&str]) -> Child {
        self.double.change(|script| script.embed_time = Duration::from_millis(20));
        let before = self.double.requests().len();
        let child = self.command(format, &self.output()).args(more).spawn().unwrap();
        self.runtime.block_on(self.double.reached(before + 30));
        child
    }

    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

fn signal(child: Child, signal: &str) -> Run {
    embed_testkit::signal(signal, child.id()).unwrap();
    child.wait_with_output().unwrap().into()
}

#[test]
fn a_run_that_is_stopped_leaves_nothing_and_what_was_there_stays() {
    let slow = Slow::new();
    for format in FORMATS {
        for name in ["INT", "TERM"] {
            let run = signal(slow.start(format, &[]), name);
            assert_eq!(run.code, Some(4), "{format}, {name}: {run:?}");
            assert!(
                run.error().contains("stopped by a signal") && run.error().contains(path(&slow.output()))
            );
            assert!(slow.files().is_empty(), "{format}, {name}: {:?}", slow.files());
        }
    }
    fs::write(slow.output(), "before").unwrap();
    assert_eq!(signal(slow.start("npy", &["--force"]), "INT").code, Some(4));
    assert_eq!(fs::read_to_string(slow.output()).unwrap(), "before");
    assert_eq!(slow.files(), ["vectors"]);
}

/// Nobody can take it away then, but it has another name, and is no array.
#[test]
fn a_run_that_is_killed_leaves_no_file_of_that_name() {
    let slow = Slow::new();
    let run = signal(slow.start("npy", &[]), "KILL");
    assert_eq!(run.code, None);
    let files = slow.files();
    assert!(!slow.output().exists() && files.len() == 1 && files[0].ends_with(".partial"), "{files:?}");
    let left = fs::read(slow.folder.path().join(&files[0])).unwrap();
    assert!(left.len() > 128 && left[..128].iter().all(|byte| *byte == 0));
}

#[test]
fn an_output_that_is_there_is_replaced_only_if_asked() {
    let Some(_) = home() else { return };
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("vectors.jsonl");
    fs::write(&file, "mine").unwrap();
    let encode = |more: &[&str]| run(&[&["encode", "cooking", "--output", path(&file)][..], more].concat());
    let refused = encode(&[]);
    assert_eq!(refused.code, Some(3), "{refused:?}");
    assert!(refused.error().contains("--force") && refused.error().contains(path(&file)), "{}", refused.err);
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
    assert_eq!(encode(&["--force"]).code, Some(0));
    assert!(fs::read_to_string(&file).unwrap().starts_with("{\"index\":0,"));

    let nowhere = folder.path().join("no/vectors.jsonl");
    let refused = run(&["encode", "cooking", "--output", path(&nowhere)]);
    assert!(refused.code == Some(3) && refused.error().contains("folder doesn't exist"), "{refused:?}");
}

#[test]
fn a_dash_and_the_device_are_standard_output() {
    let Some(_) = home() else { return };
    let plain = run(&["encode", "cooking"]).out;
    for name in ["-", "/dev/stdout"] {
        let run = run(&["encode", "cooking", "--output", name]);
        assert_eq!((run.code, &run.out), (Some(0), &plain), "{name}");
    }
    let run = run(&["encode", "cooking", "--format", "npy", "--output", "-"]);
    assert!(run.code == Some(2) && run.err.contains("needs --output"), "{run:?}");
}

#[test]
fn an_array_without_vectors_is_as_wide_as_the_model() {
    let Some(_) = home() else { return };
    let folder = TempDir::new().unwrap();
    let input = folder.path().join("texts.txt");
    for (text, rows) in [("", 0), ("\n\n", 2)] {
        fs::write(&input, text).unwrap();
        let output = folder.path().join(format!("{rows}.npy"));
        run(&["encode", "--input", path(&input), "--format", "npy", "--output", path(&output)]);
        let bytes = fs::read(&output).unwrap();
        let header = String::from_utf8_lossy(&bytes[10..128]);
        assert!(header.contains(&format!("'shape': ({rows}, 384)")), "{header}");
        assert_eq!(bytes.len(), 128 + rows * 384 * 4);
    }
}

/// A disk of 256 KiB.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_leaves_nothing() {
    let slow = Slow::new();
    let mount = Command::new("unshare").args(["--mount", "--map-root-user", "true"]).status();
    let may_mount = mount.map_err(|error| error.to_string()).and_then(|status| {
        if status.success() { Ok(()) } else { Err("mounting isn't allowed here".to_owned()) }
    });
    if embed_testkit::require("a mount namespace", may_mount).is_none() {
        return;
    }
    for format in FORMATS {
        let output = slow.folder.path().join("vectors");
        let encode = slow.command(format, &output);
        let words: Vec<_> = encode.get_args().map(|arg| format!("'{}'", arg.to_str().unwrap())).collect();
        let script = format!(
            "mount -t tmpfs -o size=64k none '{folder}' && echo mine > '{folder}/vectors' && '{embed}' {} --force; \
             code=$?; ls '{folder}'; cat '{folder}/vectors'; exit $code",
            words.join(" "),
            folder = path(slow.folder.path()),
            embed = env!("CARGO_BIN_EXE_embed"),
        );
        let run: Run = Command::new("unshare")
            .args(["--mount", "--map-root-user", "sh", "-c", &script])
            .output()
            .unwrap()
            .into();
        assert_eq!((run.code, run.out.as_str()), (Some(3), "vectors\nmine\n"), "{format}: {run:?}");
        assert!(run.error().contains("the disk is full"), "{format}: {}", run.err);
    }
}

/// A server that counts a batch as a whole tells nothing of a single text.
#[test]
fn tokens_that_are_not_known_are_left_out() {
    let slow = Slow::new();
    let url = slow.double.url();
    let encode = |more: &[&str]| {
        let args =
            ["encode", "--service", "ollama", "--ollama-url", &url, "--cache", "off", "a river", "a lake"];
        run(&[&args[..], more].concat())
    };
    let table = encode(&["--format", "table"]);
    assert_eq!(table.code, Some(0), "{table:?}");
    let summary = table.out.lines().last().unwrap();
    assert!(summary.starts_with("2 texts in ") && !summary.contains("tokens"), "{summary}");
    for row in encode(&[]).rows() {
        assert!(row.get("tokens").is_none() && row["embedding"].is_array(), "{row}");
    }
}
