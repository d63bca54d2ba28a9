//! Rows come out as they are ready, in bounded memory, and a reader may stop at any time.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use crate::{embed, home};

/// `embed encode --input -` with its pipes.
fn start() -> (Child, ChildStdin, BufReader<ChildStdout>) {
    let mut child = embed()
        .args(["encode", "--input", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    (child, stdin, BufReader::new(stdout))
}

#[test]
fn a_row_is_answered_before_the_next_one_is_written() {
    let Some(_) = home() else { return };
    let (mut child, mut stdin, mut stdout) = start();
    for index in 0..3 {
        writeln!(stdin, "text {index}").unwrap();
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        assert!(line.starts_with(&format!("{{\"index\":{index},")), "{line}");
    }
    drop(stdin);
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_reader_that_stops_is_no_error() {
    let Some(_) = home() else { return };
    let (child, mut stdin, mut stdout) = start();
    // Standard input stays open and silent: the end must not wait for it.
    writeln!(stdin, "one").unwrap();
    stdout.read_line(&mut String::new()).unwrap();
    drop(stdout);
    for _ in 0..64 {
        // The child may be gone already.
        let _ = writeln!(stdin, "more");
    }
    let output = child.wait_with_output().unwrap();
    drop(stdin);
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Half a million rows that fail without the model keep the path of a row busy: input, order, output.
#[cfg(target_os = "linux")]
#[test]
fn half_a_million_lines_take_no_more_memory_than_a_thousand() {
    let Some(_) = home() else { return };
    let peak = |lines: usize| {
        let (mut child, mut stdin, stdout) = start();
        let status = format!("/proc/{}/status", child.id());
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let writer = std::thread::spawn(move || {
            stdin.write_all(&b"\n".repeat(lines)).unwrap();
            // Open until the peak is read, or the process would be gone.
            let _ = wait.recv();
        });
        assert_eq!(stdout.lines().take(lines).count(), lines);
        let status = std::fs::read_to_string(status).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let peak: u64 = peak.split_whitespace().next().unwrap().parse().unwrap();
        drop(go);
        writer.join().unwrap();
        child.wait().unwrap();
        peak
    };
    let (few, many) = (peak(1_000), peak(500_000));
    assert!(many < few + 32 * 1024, "{few} KiB for a thousand rows, {many} KiB for half a million");
}
