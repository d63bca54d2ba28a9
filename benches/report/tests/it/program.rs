//! The program as `cargo xtask bench` calls it.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use embed_report::report::{Report, SCHEMA};

use crate::sample_folder;

fn program(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_embed-report")).current_dir(folder).args(args).output().unwrap()
}

/// Makes the report of the sample in a folder.
fn build(folder: &Path) {
    let sample = sample_folder();
    fs::copy(sample.join("../../../../Cargo.lock"), folder.join("Cargo.lock")).unwrap();
    let (figures, criterion) = (sample.join("figures.jsonl"), sample.join("criterion"));
    let output = program(
        folder,
        &[
            "build",
            "--figures",
            figures.to_str().unwrap(),
            "--criterion",
            criterion.to_str().unwrap(),
            "--json",
            "out/report.json",
            "--html",
            "out/report.html",
            "--plots",
            "out/plots",
            "--version",
            "ONNX Runtime=1.22",
            "--fact",
            "kernels=portable",
            "--skipped",
            "Redis=not there",
            "--problem",
            "one failed",
        ],
    );
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn it_writes_json_page_and_plots() {
    let folder = tempfile::tempdir().unwrap();
    build(folder.path());
    let out = folder.path().join("out");
    let report = Report::from_json(&fs::read_to_string(out.join("report.json")).unwrap()).unwrap();
    assert_eq!(report.schema, SCHEMA);
    assert_eq!(report.versions["ONNX Runtime"], "1.22");
    assert!(report.versions.contains_key("criterion"));
    assert_eq!(report.facts["kernels"], "portable");
    assert!(report.skipped.iter().any(|skipped| skipped.what == "Redis"));
    assert_eq!(report.problems, ["one failed"]);
    assert!(fs::read_to_string(out.join("report.html")).unwrap().contains("portable"));
    for name in ["headline.png", "headline.svg", "detection.png"] {
        assert!(out.join("plots").join(name).exists(), "{name}");
    }
}

#[test]
fn comparing_ends_with_1_if_something_got_slower_and_with_2_if_it_cannot_compare() {
    let folder = tempfile::tempdir().unwrap();
    build(folder.path());
    let path = folder.path().join("out/report.json");
    let text = fs::read_to_string(&path).unwrap();
    let mut report = Report::from_json(&text).unwrap();
    let same = program(folder.path(), &["compare", "out/report.json", "out/report.json"]);
    assert_eq!(same.status.code(), Some(0), "{}", String::from_utf8_lossy(&same.stdout));

    for suite in &mut report.suites {
        for ratio in suite.figures.iter_mut().filter_map(|figure| figure.ratio.as_mut()) {
            (ratio.median, ratio.low, ratio.high) = (ratio.median / 2.0, ratio.low / 2.0, ratio.high / 2.0);
        }
    }
    fs::write(folder.path().join("slow.json"), serde_json::to_string(&report).unwrap()).unwrap();
    let slower = program(folder.path(), &["compare", "out/report.json", "slow.json"]);
    assert_eq!(slower.status.code(), Some(1));
    let shown = String::from_utf8_lossy(&slower.stdout).into_owned();
    assert!(shown.contains("slower") && shown.contains("-50.0 %"), "{shown}");

    fs::write(folder.path().join("old.json"), text.replace(SCHEMA, "embed-bench/0")).unwrap();
    let refused = program(folder.path(), &["compare", "old.json", "out/report.json"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        String::from_utf8_lossy(&refused.stderr)
            .contains("old.json can't be used: its schema is embed-bench/0")
    );
}
