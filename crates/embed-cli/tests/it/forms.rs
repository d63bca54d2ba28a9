//! Forms and encodings of input: read as what they are, or refused once and in words.

use std::fs;

use embed_core::vector;
use serde_json::Value;
use tempfile::TempDir;

use crate::{Run, home, path, run, run_with_input};

/// Embeds a file of this name with these bytes.
fn encode(name: &str, bytes: &[u8], more: &[&str]) -> Run {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join(name);
    fs::write(&file, bytes).unwrap();
    run(&[&["encode", "--input", path(&file)][..], more].concat())
}

fn vector_of(row: &Value) -> Vec<f32> {
    serde_json::from_value(row["embedding"].clone()).unwrap_or_else(|_| panic!("no vector: {row}"))
}

const ROW: &[u8] = b"{\"id\":\"a\",\"text\":\"cooking\"}\n";

#[test]
fn json_lines_are_known_by_every_name_that_they_have() {
    let Some(_) = home() else { return };
    let plain = run(&["encode", "cooking"]);
    for name in ["a.jsonl", "a.ndjson", "a.jsonlines", "a.JSONL", "a.NdJson"] {
        let run = encode(name, ROW, &[]);
        assert_eq!((run.code, run.err.as_str()), (Some(0), ""), "{name}");
        let rows = run.rows();
        assert_eq!((rows.len(), &rows[0]["id"]), (1, &"a".into()), "{name}");
        assert_eq!(rows[0]["embedding"], plain.rows()[0]["embedding"], "{name}");
    }
}

/// Nothing is loaded for them, so this needs no model.
#[test]
fn other_forms_are_refused_once_and_in_words() {
    let utf16: Vec<u8> = "\u{feff}text\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let utf32: Vec<u8> = "\u{feff}text\n".chars().flat_map(|c| (c as u32).to_be_bytes()).collect();
    for (name, bytes, words) in [
        ("a.json", ROW, "--input-format jsonl"),
        ("a.csv", b"id,text\n", "--input-format lines"),
        ("a.TSV", b"id\ttext\n", "columns"),
        ("a.jsonl.gz", ROW, "gunzip"),
        ("a.parquet", b"PAR1", "not text"),
        ("a.npy", b"\x93NUMPY", "not text"),
        ("a.txt", b"\x1f\x8b\x08\0\0\0", "gunzip"),
        ("a.jsonl", b"\x1f\x8b\x08\0\0\0", "gunzip"),
        ("a.txt", &utf16, "iconv -f UTF-16"),
        ("a.jsonl", &utf16[2..], "iconv -f UTF-16"),
        ("a", &utf32, "iconv -f UTF-32"),
        ("a.txt", b"caf\xe9\nplain\nna\xefve\n", "iconv -f ISO-8859-1"),
        ("a.jsonl", b"{\"text\":\"caf\xe9\"}\n{\"text\":\"na\xefve\"}\n", "iconv -f ISO-8859-1"),
    ] {
        let run = encode(name, bytes, &[]);
        assert_eq!((run.code, run.out.as_str()), (Some(3), ""), "{name}: {run:?}");
        assert!(run.error().contains(words) && run.error().contains(name), "{name}: {}", run.err);
        // What the bytes tell is so whatever somebody says of their form.
        if !["a.json", "a.csv", "a.TSV", "a.jsonl.gz"].contains(&name) {
            assert_eq!(encode(name, bytes, &["--input-format", "lines"]).code, Some(3), "{name}");
        }
    }
}

#[test]
fn standard_input_is_looked_at_too() {
    let Some(_) = home() else { return };
    for (bytes, words) in [
        (&b"\x1f\x8b\x08\0\n"[..], "gunzip"),
        (b"\xff\xfet\0e\0x\0t\0\n\0", "iconv -f UTF-16"),
        (b"caf\xe9\nna\xefve\n", "iconv -f ISO-8859-1"),
    ] {
        let run = run_with_input(&["encode"], bytes);
        assert_eq!(run.code, Some(3), "{run:?}");
        assert!(run.error().contains(words) && run.error().contains("standard input"), "{run:?}");
    }
    // It may be meant, so it is said and not refused.
    let run = run_with_input(&["encode"], ROW);
    assert_eq!((run.code, run.rows().len()), (Some(0), 1), "{run:?}");
    assert!(run.error().contains("--input-format jsonl"), "{run:?}");
    let run = run_with_input(&["encode", "--input-format", "lines"], ROW);
    assert_eq!((run.code, run.err.as_str()), (Some(0), ""));
}

#[test]
fn the_role_of_a_row_is_honoured_and_rows_stay_in_their_order() {
    let Some(_) = home() else { return };
    let lines = "{\"text\":\"cooking\",\"role\":\"query\"}\n{\"text\":\"cooking\"}\n\
                 {\"text\":\"cooking\",\"input_type\":\"search_query\"}\n{\"text\":\"cooking\",\"role\":\"user\",\"id\":7}\n\
                 {\"text\":\"cooking\",\"role\":\"document\"}\n";
    let rows_of = |role: &str| encode("a.jsonl", lines.as_bytes(), &["--role", role, "--with-text"]);
    let run = rows_of("document");
    assert_eq!(run.code, Some(1), "{run:?}");
    let rows = run.rows();
    let [query, document] = ["query", "document"]
        .map(|role| vector_of(&run_with_input(&["encode", "--role", role], b"cooking").rows()[0]));
    assert!(vector::cosine(&query, &document).unwrap() < 0.999);
    for (index, expected, role) in
        [(0, &query, "query"), (1, &document, "document"), (2, &query, "query"), (4, &document, "document")]
    {
        assert_eq!(&vector_of(&rows[index]), expected, "{index}");
        assert_eq!((&rows[index]["role"], &rows[index]["index"]), (&role.into(), &index.into()));
    }
    assert_eq!(rows[3]["id"], 7);
    assert!(rows[3]["error"]["message"].as_str().unwrap().contains("field: role, line: 4"), "{}", rows[3]);

    // What `--with-text` wrote is read back as it was.
    let good: String =
        run.out.lines().filter(|line| !line.contains("error")).map(|line| format!("{line}\n")).collect();
    let again = encode("b.jsonl", good.as_bytes(), &[]).rows();
    for (again, row) in again.iter().zip(rows.iter().filter(|row| row["error"].is_null())) {
        assert_eq!(again["embedding"], row["embedding"]);
    }
    assert_eq!(vector_of(&rows_of("query").rows()[1]), query);
}

#[test]
fn rows_keep_their_ids_and_count_without_empty_lines() {
    let Some(_) = home() else { return };
    let lines = "\n{\"id\":1,\"text\":null}\n\r\n{\"text\":[\"x\"],\"id\":2}\n  \n{\"id\":3,\"text\":\"cut \\ud83d\"}\n\
                 {\"id\":4,\"text\":\"a\",\"text\":\"cooking\"}\n\n";
    let run = encode("a.jsonl", lines.as_bytes(), &[]);
    assert_eq!(run.code, Some(1), "{run:?}");
    let rows = run.rows();
    let seen: Vec<_> =
        rows.iter().map(|row| (row["index"].as_u64().unwrap(), row["id"].as_u64().unwrap())).collect();
    assert_eq!(seen, [(0, 1), (1, 2), (2, 3), (3, 4)]);
    assert!(rows[0]["error"]["message"].as_str().unwrap().contains("no `text` (line: 2"), "{}", rows[0]);
    assert!(rows[1]["error"]["message"].as_str().unwrap().contains("not a string (line: 4"), "{}", rows[1]);
    let plain = run_with_input(&["encode"], "cut \u{fffd}\ncooking\n".as_bytes()).rows();
    assert_eq!(vector_of(&rows[2]), vector_of(&plain[0]));
    assert_eq!(vector_of(&rows[3]), vector_of(&plain[1]));
}

#[test]
fn a_row_is_one_line_for_readers_of_every_language() {
    let Some(_) = home() else { return };
    let line = "{\"id\":\"\u{2029}\",\"text\":\"a\u{2028}b\u{85}c\"}\n";
    let run = encode("a.jsonl", line.as_bytes(), &["--with-text"]);
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(run.out.contains(r#""id":"\u2029","text":"a\u2028b\u0085c""#), "{}", &run.out[..100]);
    assert_eq!(run.rows()[0]["text"], "a\u{2028}b\u{85}c");
}
