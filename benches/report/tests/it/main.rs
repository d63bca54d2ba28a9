//! The report made of a committed sample: what a run writes, from the lines and files of the programs to the page.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod page;
mod program;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use embed_report::criterion;
use embed_report::facts::{Machine, Run};
use embed_report::figure::Figures;
use embed_report::report::Report;

fn sample_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sample")
}

/// The committed figures: lines of programs, and two groups of criterion's.
fn sample() -> Report {
    let lines = fs::read_to_string(sample_folder().join("figures.jsonl")).unwrap();
    let mut read = Figures::read(&lines);
    assert_eq!(read.problems, [""; 0]);
    let of_criterion = criterion::read(&sample_folder().join("criterion"), SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(of_criterion.len(), 4, "two groups of two");
    read.figures.extend(of_criterion);
    let run =
        Run { date: "2026-01-02T03:04:05Z".into(), commit: "0123456789abcdef".into(), ..Run::default() };
    let machine = Machine { cpu: "A <fast> processor".into(), cores: 2, ..Machine::default() };
    let mut report = Report::new(run, machine, [("rustc".into(), "1.2.3".into())].into(), read.figures);
    report.skipped = read.skipped;
    report
}

#[test]
fn times_of_criterion_become_throughputs_where_the_catalogue_says_so() {
    let report = sample();
    let suite = report.suite("gateway/cached text, ollama").unwrap();
    let shown: Vec<_> = suite
        .figures
        .iter()
        .map(|figure| (figure.name.as_str(), suite.unit.show(figure.value.median)))
        .collect();
    // 20 µs and 25 µs a request.
    assert_eq!(
        shown,
        [("bare axum", "50.0k requests/s".to_owned()), ("embed-gateway", "40.0k requests/s".to_owned())]
    );
    let ours = &suite.figures[1];
    assert!((ours.ratio.unwrap().median - 0.8).abs() < 1e-9);
}

#[test]
fn what_criterion_measured_is_held_against_the_promises_of_the_catalogue() {
    let report = sample();
    let figures = &report.suite("detection/English query").unwrap().figures;
    let ours = figures.iter().find(|figure| figure.name == "embed-router").unwrap();
    let [promise] = &ours.promises[..] else { panic!("{:?}", ours.promises) };
    assert!(promise.met && promise.text.contains("of whatlang"), "{promise:?}");
}

#[test]
fn what_criterion_measured_before_the_run_is_left_out() {
    let figures = criterion::read(&sample_folder().join("criterion"), SystemTime::now()).unwrap();
    assert!(figures.is_empty());
    assert!(criterion::read(Path::new("no such folder"), SystemTime::UNIX_EPOCH).unwrap().is_empty());
}
