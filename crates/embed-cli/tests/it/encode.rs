//! `embed encode` and `embed compare` on good input, in every format.

use std::fs;

use embed_core::vector;
use tempfile::TempDir;

use crate::{home, path, run, run_with_input};

#[test]
fn json_lines_have_the_fields_that_the_help_promises() {
    let Some(_) = home() else { return };
    let run = run(&["encode", "--role", "query", "富士山の高さ", "Mount Fuji"]);
    assert_eq!((run.code, run.err.as_str()), (Some(0), ""));
    let rows = run.rows();
    assert_eq!(rows.len(), 2);
    for (index, row) in rows.iter().enumerate() {
        let fields: Vec<_> = row.as_object().unwrap().keys().map(String::as_str).collect();
        let expected =
            ["dimension", "embedding", "index", "model", "service", "space", "tokens", "truncated"];
        assert_eq!(fields, expected);
        assert_eq!(row["index"], index);
        assert_eq!(row["service"], "e5");
        assert_eq!(row["model"], "multilingual-e5-small");
        assert_eq!(row["space"], "multilingual-e5-small/mean/query-passage/l2/384");
        assert_eq!(row["dimension"], 384);
        assert_eq!(row["truncated"], false);
        let vector: Vec<f32> = serde_json::from_value(row["embedding"].clone()).unwrap();
        assert_eq!(vector.len(), 384);
        assert!((vector::norm(&vector) - 1.0).abs() < 1e-5);
    }
    // `<s>`, the three tokens of `query:`, the two words, `</s>`.
    assert_eq!(rows[1]["tokens"], 7);
}

#[test]
fn a_jsonl_file_keeps_ids_and_bad_rows_their_places() {
    let Some(_) = home() else { return };
    let folder = TempDir::new().unwrap();
    let input = folder.path().join("texts.jsonl");
    fs::write(
        &input,
        "{\"id\":\"a\",\"text\":\"cooking\"}\n{\"id\":2,\"text\":\"\"}\n[]\n{\"text\":\"料理\"}\n",
    )
    .unwrap();
    let run = run(&["encode", "--input", path(&input)]);
    assert_eq!(run.code, Some(1));
    let rows = run.rows();
    assert_eq!(rows.len(), 4);
    assert_eq!((&rows[0]["id"], &rows[1]["id"]), (&"a".into(), &2.into()));
    assert_eq!(rows[1]["error"]["kind"], "invalid_input");
    assert_eq!(rows[2]["error"]["kind"], "invalid_input");
    assert!(rows[3]["embedding"].is_array());
}

#[test]
fn truncation_is_chosen_and_shown() {
    let Some(_) = home() else { return };
    let long = "a long text ".repeat(400);
    for (policy, truncated) in [("end", true), ("start", true), ("chunk-mean", false)] {
        let run = run(&["encode", "--truncate", policy, &long]);
        assert_eq!(run.code, Some(0), "{}", run.err);
        assert_eq!(run.rows()[0]["truncated"], truncated);
        assert!(run.rows()[0]["tokens"].as_u64().unwrap() > 1000);
    }
    let run = run(&["encode", &long]);
    assert_eq!(run.code, Some(1));
    assert_eq!(run.rows()[0]["error"]["kind"], "input_too_long");
}

#[test]
fn an_array_has_a_row_for_every_text_even_a_failed_one() {
    let Some(_) = home() else { return };
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("vectors.npy");
    let run = run(&["encode", "--format", "npy", "--output", path(&file), "", "one", "", "two"]);
    assert_eq!(run.code, Some(1), "{}", run.err);
    let bytes = fs::read(&file).unwrap();
    assert_eq!(bytes.len(), 128 + 4 * 384 * 4);
    let header = String::from_utf8_lossy(&bytes[10..128]);
    assert!(header.contains("'descr': '<f4'") && header.contains("'shape': (4, 384)"), "{header}");
    let values: Vec<_> =
        bytes[128..].chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect();
    let norms: Vec<_> = values.chunks_exact(384).map(vector::norm).collect();
    assert!(norms[0].is_nan() && norms[2].is_nan(), "{norms:?}");
    assert!((norms[1] - 1.0).abs() < 1e-5 && (norms[3] - 1.0).abs() < 1e-5);
}

#[test]
fn a_table_is_for_people() {
    let Some(_) = home() else { return };
    let run = run_with_input(&["encode", "--input", "-", "--format", "table"], "料理\ncooking\n".as_bytes());
    assert_eq!((run.code, run.err.as_str()), (Some(0), ""));
    let lines: Vec<_> = run.out.lines().collect();
    assert_eq!(lines.len(), 4, "{}", run.out);
    assert!(lines[1].contains("料理") && lines[2].contains("cooking"));
    assert!(lines[3].contains("2 texts") && lines[3].contains("multilingual-e5-small/mean"));
}

#[test]
fn compare_prints_the_matrix() {
    let Some(_) = home() else { return };
    let run = run(&["compare", "cooking recipes", "料理のレシピ", "database"]);
    assert_eq!((run.code, run.err.as_str()), (Some(0), ""));
    let numbers: Vec<Vec<f32>> = run
        .out
        .lines()
        .skip(3)
        .map(|line| {
            let last = line.split_whitespace().rev().take(3);
            let mut row: Vec<f32> = last.map(|number| number.parse().unwrap()).collect();
            row.reverse();
            row
        })
        .collect();
    assert_eq!(numbers.len(), 3);
    assert!((0..3).all(|i| numbers[i][i] == 1.0));
    assert!(numbers[0][1] > numbers[0][2], "{numbers:?}");
}
