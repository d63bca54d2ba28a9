//! Every suite with two texts, so that none can rot or measure an error path.

#![expect(clippy::unwrap_used, reason = "a test that fails panics")]

use std::fs;
use std::process::Command;

use embed_encoder::assets::{DataHome, ModelFiles};
use embed_encoder::{Precision, Profile};
use serde_json::Value;

/// What no contender may fall below, 8-bit ones included: less is a fault and no rounding.
const LEAST_COSINE: f64 = 0.97;

/// Runs a suite and returns its lines; none if there is no model.
fn run(suite: &str) -> Option<Vec<Value>> {
    for &precision in Precision::ALL {
        let files =
            DataHome::from_env().and_then(|home| ModelFiles::open(&home, &Profile::all()[0], precision));
        embed_testkit::require(&format!("multilingual-e5-small ({precision})"), files)?;
    }
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("figures.jsonl");
    let status = Command::new(env!("CARGO_BIN_EXE_embed-rivals"))
        .args(["--tiny", suite])
        .env("EMBED_BENCH_OUT", &out)
        .status()
        .unwrap();
    assert!(status.success(), "{suite}: {status}");
    let lines = fs::read_to_string(out).unwrap();
    Some(lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

fn of_suite<'a>(lines: &'a [Value], suite: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["suite"] == suite && line.get("skipped").is_none()).collect()
}

/// Figures are numbers above zero, and exactly one is the baseline.
fn check(lines: &[Value], suite: &str) {
    let figures = of_suite(lines, suite);
    for figure in &figures {
        let samples = figure["samples"].as_array().unwrap();
        assert!(!samples.is_empty(), "{figure}");
        assert!(samples.iter().all(|sample| sample.as_f64().is_some_and(|sample| sample > 0.0)), "{figure}");
    }
    let baselines = figures.iter().filter(|figure| figure["baseline"] == true).count();
    assert_eq!(baselines, usize::from(!figures.is_empty()), "{suite}");
}

#[test]
fn contenders_of_e5_agree() {
    let Some(lines) = run("e5") else { return };
    let measured = of_suite(&lines, "e5/paragraphs");
    // These need nothing but the model, so they are there wherever it is.
    for name in
        ["embed-encoder int8", "embed-encoder f32", "bare ort int8, our graph", "bare ort f32, our graph"]
    {
        assert!(measured.iter().any(|figure| figure["name"] == name), "{name} wasn't measured");
    }
    for figure in measured.iter().filter(|figure| figure["role"] != "limit") {
        let least = figure["extra"]["cosine_min"].as_f64().unwrap();
        assert!(least > LEAST_COSINE, "{}: {least}", figure["name"]);
    }
    for suite in ["e5/paragraphs", "e5/cosine-min", "e5/query-p50", "e5/query-16-callers", "e5/512-tokens"] {
        assert!(!of_suite(&lines, suite).is_empty(), "{suite} measured nothing");
        check(&lines, suite);
    }
}

#[test]
fn contenders_in_python_agree() {
    let Some(lines) = run("python") else { return };
    check(&lines, "python/paragraphs");
    for figure in of_suite(&lines, "python/paragraphs") {
        let least = figure["extra"]["cosine_min"].as_f64().unwrap();
        assert!(least > LEAST_COSINE, "{}: {least}", figure["name"]);
    }
}

#[test]
fn the_start_of_a_process_is_measured() {
    let Some(lines) = run("start") else { return };
    check(&lines, "start/first-vector");
    check(&lines, "start/peak-memory");
}

#[test]
fn detectors_find_languages() {
    let Some(lines) = run("detect") else { return };
    check(&lines, "detect/articles");
    for figure in of_suite(&lines, "detect/articles") {
        // Two long articles; nobody should miss both.
        assert!(figure["extra"]["correct_percent"].as_f64().unwrap() > 0.0, "{figure}");
    }
}

#[test]
fn clients_of_ollama_are_measured() {
    let Some(lines) = run("ollama") else { return };
    for suite in ["ollama/texts", "ollama/query-p95", "ollama/two-servers"] {
        check(&lines, suite);
    }
    // One server or two, the vectors are the same.
    for figure in of_suite(&lines, "ollama/two-servers") {
        assert!(figure["extra"]["cosine_min"].as_f64().unwrap() > 0.9999, "{figure}");
        assert!(figure["note"].as_str().unwrap().contains("Ollama 0."), "{figure}");
    }
}

#[test]
fn clients_of_redis_read_the_same_rows() {
    // Each of them counts the bytes that it got.
    let Some(lines) = run("redis") else { return };
    check(&lines, "cache/redis-clients");
}
