//! The commands about Ollama, against the double.

use std::process::Stdio;

use embed_testkit::ollama::OllamaDouble;
use tokio::runtime::Runtime;

use crate::{Run, embed};

fn double(version: &str) -> (Runtime, OllamaDouble) {
    let runtime = Runtime::new().unwrap();
    let double = runtime.block_on(OllamaDouble::start(version));
    (runtime, double)
}

/// Runs with a server named by the environment, as a deployment names it.
fn run(url: &str, args: &[&str]) -> Run {
    let mut command = embed();
    command.env("TMWS_OLLAMA_API_BASE", format!("{url}/api")).env_remove("TMWS_OLLAMA_MODEL");
    command.args(args).stdin(Stdio::null()).output().unwrap().into()
}

#[test]
fn texts_are_embedded_and_a_bad_one_keeps_its_place() {
    let (_runtime, double) = double("0.9.3");
    let run = run(&double.url(), &["encode", "--service", "ollama", "a river", "", "a mountain"]);
    assert_eq!((run.code, run.err.as_str()), (Some(1), ""));
    let rows = run.rows();
    assert_eq!(rows.len(), 3);
    assert_eq!((&rows[0]["service"], &rows[0]["model"]), (&"ollama".into(), &"all-minilm".into()));
    for (row, text) in [(&rows[0], "a river"), (&rows[2], "a mountain")] {
        let vector: Vec<f32> = serde_json::from_value(row["embedding"].clone()).unwrap();
        assert!(embed_core::vector::cosine(&vector, &double.vector_of(text)).unwrap() > 0.9999);
    }
}

#[test]
fn a_model_has_its_name_of_the_hub_too() {
    let (_runtime, double) = double("0.9.3");
    let args =
        ["encode", "--service", "ollama", "--model", "sentence-transformers/all-minilm-l6-v2", "a river"];
    let run = run(&double.url(), &args);
    assert_eq!((run.code, &run.rows()[0]["model"]), (Some(0), &"all-minilm".into()), "{run:?}");
}

#[test]
fn flags_win_over_the_environment() {
    let (_runtime, double) = double("0.5.4");
    let args = ["compare", "--service", "ollama", "--ollama-url", &double.url(), "a river", "a river"];
    let run = run("http://127.0.0.1:1", &args);
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(run.out.contains("all-minilm/mean/plain/l2/384") && run.out.contains("1.000"));
}

#[test]
fn the_server_may_be_named_before_or_after_the_sub_command() {
    let (_runtime, double) = double("0.9.3");
    let url = double.url();
    for args in [["ollama", "--ollama-url", &url, "list"], ["ollama", "list", "--ollama-url", &url]] {
        let run = run("http://127.0.0.1:1", &args);
        assert_eq!(run.code, Some(0), "{run:?}");
    }
}

#[test]
fn models_are_listed_described_and_pulled() {
    let (_runtime, double) = double("0.9.3");
    let url = double.url();
    let list = run(&url, &["ollama", "list"]);
    assert_eq!(list.code, Some(0));
    assert!(list.out.starts_with("all-minilm:latest") && list.out.contains("llama3:latest"), "{}", list.out);
    let show = run(&url, &["ollama", "show", "all-minilm"]);
    assert!(show.out.contains("width        384") && show.out.contains("embeds       yes"), "{}", show.out);
    let pull = run(&url, &["ollama", "pull", "all-minilm"]);
    assert_eq!(pull.code, Some(0));
    assert!(pull.err.contains("pulling manifest") && pull.err.contains("success"), "{}", pull.err);

    let unknown = run(&url, &["ollama", "show", "nobody"]);
    assert_eq!(unknown.code, Some(3));
    assert!(unknown.error().contains("ollama pull nobody"));
    let unknown = run(&url, &["encode", "--service", "ollama", "--model", "nobody", "a river"]);
    assert_eq!(unknown.code, Some(3));
    assert!(unknown.error().contains("ollama pull nobody"));
}

#[test]
fn doctor_says_server_version_profile_model_and_warmth() {
    let (_runtime, double) = double("0.5.4");
    let rows = |run: Run| {
        let rows = run.rows().into_iter().filter(|row| row["check"].as_str().unwrap().starts_with("ollama"));
        rows.map(|row| (row["status"].clone(), row["detail"].as_str().unwrap().to_owned()))
            .collect::<Vec<_>>()
    };
    let found = rows(run(&double.url(), &["doctor", "--format", "jsonl"]));
    assert!(found.iter().all(|(status, _)| status == "ok"), "{found:?}");
    assert!(found[0].1.contains("version 0.5.4, profile D"), "{found:?}");
    assert!(found[1].1.contains("all-minilm, width 384, context 512"), "{found:?}");
    assert!(found[2].1.contains("not loaded"), "{found:?}");
    // A server that is named must be there.
    let found = rows(run("http://127.0.0.1:1", &["doctor", "--format", "jsonl"]));
    assert_eq!(found[0].0, "wrong", "{found:?}");
}

#[test]
fn a_wrong_setting_names_itself() {
    let (_runtime, double) = double("0.9.3");
    for (name, value) in [("TMWS_OLLAMA_TIMEOUT", "soon"), ("TMWS_OLLAMA_POOL_SIZE", "0")] {
        let mut command = embed();
        command.env("TMWS_OLLAMA_API_BASE", double.url()).env(name, value);
        let run: Run = command.args(["ollama", "list"]).output().unwrap().into();
        assert_eq!(run.code, Some(3), "{run:?}");
        assert!(run.error().contains(name) || run.error().contains("pool_size"), "{run:?}");
    }
}
