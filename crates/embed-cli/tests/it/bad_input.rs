//! Texts that can't be embedded and flags that contradict each other.

use std::fs;

use tempfile::TempDir;

use crate::{home, path, run, run_with_input};

#[test]
fn every_bad_line_is_its_own_error_and_the_good_ones_stand() {
    let Some(_) = home() else { return };
    let mut input = b"good\n\n \t \n\xff\xfe\na\0b\n".to_vec();
    input.extend(b"x".repeat(10 << 20));
    input.extend(b"\nlast");
    let run = run_with_input(&["encode", "--input", "-"], &input);
    assert_eq!((run.code, run.err.as_str()), (Some(1), ""));
    let rows = run.rows();
    let message = |row: usize| rows[row]["error"]["message"].as_str().unwrap_or_default();
    assert_eq!(rows.len(), 7);
    assert!(rows[0]["embedding"].is_array() && rows[6]["embedding"].is_array());
    assert_eq!(message(1), "the text is empty");
    assert_eq!(message(2), "the text is nothing but white space");
    assert!(message(3).starts_with("the line is not valid UTF-8; convert it"));
    assert!(message(4).starts_with("the text has a NUL character"));
    assert!(message(5).starts_with("the line is too long; split it into passages (bytes: 10485761"));
    assert_eq!(rows[5]["error"]["kind"], "input_too_long");
    for (index, row) in rows.iter().enumerate() {
        assert_eq!(row["index"], index);
    }
}

#[test]
fn an_unknown_model_lists_the_known_ones() {
    let run = run(&["encode", "--model", "e5-huge", "text"]);
    assert_eq!((run.code, run.out.as_str()), (Some(3), ""));
    assert!(run.error().contains("multilingual-e5-small, multilingual-e5-base"), "{}", run.err);
}

#[test]
fn contradictory_flags_are_wrong_usage() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("texts.txt");
    fs::write(&file, "text\n").unwrap();
    let file = path(&file);
    for (args, word) in [
        (&["encode"][..], "nothing to embed"),
        (&["encode", "text", "--input", file], "cannot be used with"),
        (&["encode", "--input", file, "--output", file], "same file"),
        (&["encode", "--format", "npy", "text"], "needs --output"),
        (&["encode", "--precision", "int4", "text"], "int8, f32"),
        (&["encode", "--truncate", "middle", "text"], "chunk-mean"),
        (&["encode", "--role", "passage", "text"], "query, document"),
        (&["encode", "--threads", "0", "text"], "--threads"),
        (&["compare", "one"], "2"),
    ] {
        let run = run(args);
        assert_eq!(run.code, Some(2), "{args:?}: {}", run.err);
        assert!(run.err.contains(word), "{args:?}: {}", run.err);
        assert_eq!(fs::read_to_string(file).unwrap(), "text\n");
    }
}

#[test]
fn an_input_that_is_not_there_is_named() {
    let run = run(&["encode", "--input", "no/such/file.txt"]);
    assert_eq!(run.code, Some(3));
    assert!(run.error().contains("no/such/file.txt"), "{}", run.err);
}

#[test]
fn the_help_teaches_the_tool() {
    let run = run(&["--help"]);
    assert_eq!(run.code, Some(0));
    for word in ["embed models pull", "Exit codes", "EMBED_HOME", "ORT_DYLIB_PATH", "doctor"] {
        assert!(run.out.contains(word), "{word}");
    }
}
