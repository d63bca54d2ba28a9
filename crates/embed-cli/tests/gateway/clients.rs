//! The official clients of OpenAI, Ollama and Hugging Face, and what is built on them: they get what `embed encode` makes, to the
//! bit, and show errors in their own ways.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, Weak};

use embed_testkit::data::mixed_texts;
use embed_testkit::ollama::OllamaDouble;
use serde_json::{Value, json};

use crate::serving::{Serving, embed, has_e5};
use crate::tools::{CLIENTS, javascript, python, run};

const MODEL: &str = "multilingual-e5-small";
/// Texts of one request.
const BATCH: usize = 300;

#[test]
fn openai_for_python() {
    in_python("openai");
}

#[test]
fn ollama_for_python() {
    in_python("ollama");
}

#[test]
fn langchain_openai() {
    in_python("langchain-openai");
}

#[test]
fn langchain_ollama() {
    in_python("langchain-ollama");
}

#[test]
fn llama_index_openai() {
    in_python("llama-index-openai");
}

#[test]
fn llama_index_ollama() {
    in_python("llama-index-ollama");
}

#[test]
fn huggingface_hub() {
    in_python("huggingface-hub");
}

#[test]
fn haystack_with_tei() {
    in_python("haystack");
}

#[test]
fn haystack_with_openai() {
    in_python("haystack-openai");
}

/// Ollama counts no tokens of a batch, and the client adds up what it is told.
#[tokio::test(flavor = "multi_thread")]
async fn haystack_with_openai_before_ollama() {
    let Some(mut command) = python() else { return };
    let ollama = OllamaDouble::start("0.9.3").await;
    let variables = [("TMWS_OLLAMA_API_BASE", &*ollama.url())];
    let serving = Serving::start(&["--service", "ollama"], &variables);
    let texts: Vec<String> = (0..100).map(|number| format!("the depth of lake {number}")).collect();
    let documents: Vec<_> = texts.iter().map(|text| ollama.vector_of(text)).collect();
    let expected = serving.file("expected.json");
    let file =
        json!({ "model": "all-minilm", "texts": texts, "query": documents[0], "documents": documents });
    fs::write(&expected, file.to_string()).unwrap();
    command.arg(format!("{CLIENTS}/clients.py")).args(["haystack-openai", serving.url()]).arg(&expected);
    without_surroundings(&mut command);
    tokio::task::spawn_blocking(move || run(&mut command, "haystack-openai")).await.unwrap();
}

#[test]
fn langchain_huggingface() {
    in_python("langchain-huggingface");
}

#[test]
fn dify_with_tei() {
    in_python("dify");
}

#[test]
fn huggingface_for_javascript() {
    in_javascript("huggingface");
}

#[test]
fn openai_for_javascript() {
    in_javascript("openai");
}

#[test]
fn ollama_for_javascript() {
    in_javascript("ollama");
}

fn in_python(client: &str) {
    let Some(mut command) = python() else { return };
    command.arg(format!("{CLIENTS}/clients.py"));
    against_the_gateway(command, client);
}

fn in_javascript(client: &str) {
    let Some(folder) = javascript() else { return };
    let mut command = Command::new("node");
    command.arg(folder.join("clients.mjs"));
    against_the_gateway(command, client);
}

fn against_the_gateway(mut command: Command, client: &str) {
    if !has_e5() {
        return;
    }
    let gateway = Gateway::shared();
    command.args([client, gateway.serving.url()]).arg(&gateway.expected);
    without_surroundings(&mut command);
    run(&mut command, client);
}

fn without_surroundings(command: &mut Command) {
    // The libraries would take keys, addresses and proxies from here.
    for name in [
        "OPENAI_API_KEY",
        "OPENAI_BASE_URL",
        "OLLAMA_HOST",
        "HF_TOKEN",
        "HF_ENDPOINT",
        "http_proxy",
        "HTTP_PROXY",
        "all_proxy",
        "ALL_PROXY",
    ] {
        command.env_remove(name);
    }
    // Nobody else is to hear of the tests.
    command.env("HAYSTACK_TELEMETRY_ENABLED", "False").env("HF_HUB_DISABLE_TELEMETRY", "1");
}

/// A gateway, and a file that says what it must answer.
struct Gateway {
    serving: Serving,
    expected: PathBuf,
}

impl Gateway {
    /// The one that the tests of this file share; it ends with the last of those that run.
    fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Gateway>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        shared.upgrade().unwrap_or_else(|| {
            let gateway = Arc::new(Self::start());
            *shared = Arc::downgrade(&gateway);
            gateway
        })
    }

    fn start() -> Self {
        let serving = Serving::start(&["--service", "e5"], &[]);
        // Every fourth is short, in one of fifteen languages.
        let texts: Vec<String> = mixed_texts(4 * BATCH).into_iter().step_by(4).collect();
        let input = serving.file("texts.jsonl");
        let lines: Vec<String> =
            texts.iter().map(|text| json!({ "text": text }).to_string() + "\n").collect();
        fs::write(&input, lines.concat()).unwrap();
        let encoded = |args: &[&str]| -> Vec<Value> {
            let mut command = embed();
            command.args(["encode", "--service", "e5", "--quiet"]).args(args);
            let rows = run(&mut command, "embed encode");
            let vector = |line: &str| serde_json::from_str::<Value>(line).unwrap()["embedding"].take();
            rows.lines().map(vector).collect()
        };
        let documents = encoded(&["--input", input.to_str().unwrap()]);
        let query = encoded(&["--role", "query", &texts[0]]);
        assert_eq!((documents.len(), query.len()), (BATCH, 1));
        let expected = serving.file("expected.json");
        let file = json!({ "model": MODEL, "texts": texts, "documents": documents, "query": query[0] });
        fs::write(&expected, file.to_string()).unwrap();
        Self { serving, expected }
    }
}
