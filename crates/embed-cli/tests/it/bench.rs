//! `embed bench`: what it counts, of the real model and of Ollama's double.

use std::process::Stdio;

use embed_testkit::ollama::OllamaDouble;
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::{Run, embed, home, run_in};

const SHORT: [&str; 5] = ["bench", "--duration", "0.5", "--warm-up", "0.1"];

fn json(run: &Run) -> Value {
    serde_json::from_str(&run.out).unwrap()
}

#[test]
fn latency_throughput_and_hit_rate_of_the_real_model() {
    let Some(home) = home() else { return };
    let run = run_in(
        &home,
        &[&SHORT[..], &["--json", "--concurrency", "3", "--batch", "2", "--distinct", "5"]].concat(),
    );
    assert_eq!((run.code, run.err.as_str()), (Some(0), ""));
    let report = json(&run);
    let number = |path: &str| report.pointer(path).and_then(Value::as_f64).unwrap();
    assert_eq!((&report["service"], &report["model"]), (&"e5".into(), &"multilingual-e5-small".into()));
    assert_eq!((number("/concurrency"), number("/texts")), (3.0, number("/requests") * 2.0));
    assert!(number("/tokens_per_second") > number("/texts_per_second"));
    // Five texts are computed once.
    assert!(number("/hit_rate") > 0.5, "{report}");
    let latency = ["p50", "p95", "p99", "max"].map(|name| number(&format!("/latency_ms/{name}")));
    assert!(latency[0] > 0.0 && latency.is_sorted(), "{report}");
    assert_eq!(report["failed"], serde_json::json!({}));

    let run = run_in(&home, &[&SHORT[..], &["--cache", "off"]].concat());
    assert!(
        run.out.contains("hit rate    no cache\n") && run.out.contains("failed      0 texts\n"),
        "{run:?}"
    );
}

#[test]
fn a_server_elsewhere_and_what_it_fails_at() {
    let runtime = Runtime::new().unwrap();
    let double = runtime.block_on(OllamaDouble::start("0.9.3"));
    let url = double.url();
    let remote = ["--url", &url, "--remote-model", "all-minilm", "--pool", "development", "--json"];
    let bench = |more: &[&str]| -> Run {
        let args = [&SHORT[..], &remote, more].concat();
        embed().args(args).stdin(Stdio::null()).output().unwrap().into()
    };
    let run = bench(&[]);
    assert_eq!(run.code, Some(0), "{run:?}");
    let report = json(&run);
    assert_eq!((&report["service"], &report["hit_rate"]), (&"remote".into(), &Value::Null));
    assert!(report["texts"].as_u64().unwrap() > 0);
    // Nothing is cached in front of it.
    assert!(double.requests().len() as u64 >= report["requests"].as_u64().unwrap());

    let file = tempfile::Builder::new().suffix(".txt").tempfile().unwrap();
    std::fs::write(file.path(), "a river\n\n").unwrap();
    let run = bench(&["--input", file.path().to_str().unwrap(), "--distinct", "2", "--zipf", "0"]);
    assert_eq!(run.code, Some(1), "a text that is empty fails: {run:?}");
    let report = json(&run);
    assert!(report["failed"]["invalid_input"].as_u64().unwrap() > 0 && report["texts"].as_u64().unwrap() > 0);
}

#[test]
fn wrong_use_is_said() {
    for (args, part) in [
        (&["--pool", "enormous"][..], "high_traffic"),
        (&["--concurrency", "0"], "1"),
        (&["--zipf", "11"], "0 to 10"),
        (&["--duration", "soon"], "seconds"),
    ] {
        let run: Run = embed().arg("bench").args(args).stdin(Stdio::null()).output().unwrap().into();
        assert_eq!(run.code, Some(2), "{run:?}");
        assert!(run.err.contains(part), "{}", run.err);
    }
    let run: Run =
        embed().args(["bench", "--url", "http://127.0.0.1:1"]).stdin(Stdio::null()).output().unwrap().into();
    assert_eq!(run.code, Some(4), "nobody is there: {run:?}");
}
