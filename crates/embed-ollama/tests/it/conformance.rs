//! The double is held to the real thing: the same requests, and the answers compared field by field.

use std::collections::BTreeMap;
use std::time::Duration;

use embed_testkit::ollama::OllamaDouble;
use embed_testkit::ollama::rig;
use serde_json::{Value, json};

use crate::real::REAL;

/// A request, and what of its answer is left out of the comparison.
struct Exchange {
    name: &'static str,
    method: reqwest::Method,
    path: &'static str,
    body: Option<String>,
    compare: Compare,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Compare {
    /// Status, headers that matter, and every field; vectors and durations by form.
    All,
    /// As `All`, but of a description of a model only what the client reads.
    Model,
}

fn post(name: &'static str, path: &'static str, body: &Value) -> Exchange {
    raw(name, path, &body.to_string())
}

fn raw(name: &'static str, path: &'static str, body: &str) -> Exchange {
    Exchange { name, method: reqwest::Method::POST, path, body: Some(body.to_owned()), compare: Compare::All }
}

fn get(name: &'static str, path: &'static str) -> Exchange {
    Exchange { name, method: reqwest::Method::GET, path, body: None, compare: Compare::All }
}

fn model(exchange: Exchange) -> Exchange {
    Exchange { compare: Compare::Model, ..exchange }
}

fn exchanges() -> Vec<Exchange> {
    let embed = "/api/embed";
    let with = |fields: Value| {
        let mut body = json!({ "model": "all-minilm", "input": "why is the sky blue?" });
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        body
    };
    let words = |count: usize| vec!["water"; count].join(" ");
    vec![
        post("one text", embed, &with(json!({}))),
        post("one in an array", embed, &with(json!({ "input": ["why is the sky blue?"] }))),
        post("two texts", embed, &with(json!({ "input": ["why is the sky blue?", "water"] }))),
        post("an empty text in an array", embed, &with(json!({ "input": ["water", ""] }))),
        post("an empty array", embed, &with(json!({ "input": [] }))),
        post("an empty text", embed, &with(json!({ "input": "" }))),
        post("no input", embed, &json!({ "model": "all-minilm" })),
        post("null input", embed, &with(json!({ "input": null }))),
        post("a number as input", embed, &with(json!({ "input": 1 }))),
        post("a number in the input", embed, &with(json!({ "input": ["a", 1] }))),
        post("an object as input", embed, &with(json!({ "input": {} }))),
        post("no model", embed, &json!({ "input": "a" })),
        post("an empty model", embed, &with(json!({ "model": "" }))),
        post("an unknown model", embed, &with(json!({ "model": "nobody" }))),
        post("an unknown model and wrong input", embed, &with(json!({ "model": "nobody", "input": 1 }))),
        post("an unknown model without input", embed, &json!({ "model": "nobody" })),
        post("the model in capitals", embed, &with(json!({ "model": "All-MiniLM" }))),
        post("the model with its tag", embed, &with(json!({ "model": "all-minilm:latest" }))),
        post("the model with its namespace", embed, &with(json!({ "model": "library/all-minilm" }))),
        post("a number as model", embed, &with(json!({ "model": 1 }))),
        post("an unknown field", embed, &with(json!({ "nonsense": 1 }))),
        post("dimensions", embed, &with(json!({ "dimensions": 64 }))),
        post("keep_alive in seconds", embed, &with(json!({ "keep_alive": 600 }))),
        post("keep_alive as a duration", embed, &with(json!({ "keep_alive": "10m" }))),
        post("keep_alive without a unit", embed, &with(json!({ "keep_alive": "10" }))),
        post("keep_alive negative without a unit", embed, &with(json!({ "keep_alive": "-1" }))),
        post("keep_alive in ISO 8601", embed, &with(json!({ "keep_alive": "PT15M" }))),
        post("keep_alive true", embed, &with(json!({ "keep_alive": true }))),
        post("an option of the wrong type", embed, &with(json!({ "options": { "num_ctx": "8" } }))),
        post("an unknown option", embed, &with(json!({ "options": { "nonsense": 8 } }))),
        post("a long text, not to be cut", embed, &with(json!({ "input": words(600), "truncate": false }))),
        post("a long text, to be cut", embed, &with(json!({ "input": words(600), "truncate": true }))),
        post("a long text", embed, &with(json!({ "input": words(600) }))),
        post(
            "a text of 512 words, not to be cut",
            embed,
            &with(json!({ "input": words(512), "truncate": false })),
        ),
        post(
            "a text of 511 words, not to be cut",
            embed,
            &with(json!({ "input": words(511), "truncate": false })),
        ),
        post(
            "a text of 510 words, not to be cut",
            embed,
            &with(json!({ "input": words(510), "truncate": false })),
        ),
        raw("an empty body", embed, ""),
        raw("a blank body", embed, " \n"),
        raw("a body that is cut", embed, "{\"model\":\"all-minilm\",\"input\":[\"a"),
        raw("a body that isn't JSON", embed, "xml"),
        raw("two values", embed, "{\"model\":\"all-minilm\",\"input\":\"water\"}{\"x\":1}"),
        get("the wrong method", embed),
        raw("a trailing blank line", embed, "{\"model\":\"all-minilm\",\"input\":\"water\"}\n\n"),
        raw("a doubled slash", "//api/embed", "{}"),
        get("an unknown route", "/api/nonsense"),
        get("the root", "/"),
        get("the version", "/api/version"),
        model(get("the models", "/api/tags")),
        model(get("the running models", "/api/ps")),
        model(post("show", "/api/show", &json!({ "model": "all-minilm" }))),
        post("show nothing", "/api/show", &json!({})),
        post("show an unknown model", "/api/show", &json!({ "model": "nobody" })),
        post("legacy", "/api/embeddings", &json!({ "model": "all-minilm", "prompt": "water" })),
        post("legacy without prompt", "/api/embeddings", &json!({ "model": "all-minilm" })),
        post("legacy with input", "/api/embeddings", &json!({ "model": "all-minilm", "input": "water" })),
        post("legacy with an array", "/api/embeddings", &json!({ "model": "all-minilm", "prompt": ["a"] })),
        post("legacy without model", "/api/embeddings", &json!({ "prompt": "water" })),
        post("legacy with an unknown model", "/api/embeddings", &json!({ "model": "nobody", "prompt": "a" })),
        get("the wrong method for show", "/api/show"),
    ]
}

async fn play(client: &reqwest::Client, url: &str, exchange: &Exchange) -> BTreeMap<String, String> {
    let mut request = client.request(exchange.method.clone(), format!("{url}{}", exchange.path));
    if let Some(body) = &exchange.body {
        request = request.header("content-type", "application/json").body(body.clone());
    }
    let response = request.send().await.unwrap();
    let mut seen = BTreeMap::from([("status".to_owned(), response.status().as_u16().to_string())]);
    for header in ["content-type", "location", "retry-after", "allow"] {
        // Go sniffs a type where there is no body; nobody reads it.
        if let Some(value) = response
            .headers()
            .get(header)
            .filter(|_| !response.status().is_redirection() || header == "location")
        {
            seen.insert(format!("header {header}"), value.to_str().unwrap().to_owned());
        }
    }
    let body = response.text().await.unwrap();
    match serde_json::from_str::<Value>(&body) {
        Ok(value) => flatten("", &value, exchange, &mut seen),
        Err(_) => drop(seen.insert("text".to_owned(), body.trim().to_owned())),
    }
    seen
}

/// Every field by its path. Vectors, durations, dates and digests only by their form.
fn flatten(path: &str, value: &Value, exchange: &Exchange, seen: &mut BTreeMap<String, String>) {
    let last = path.rsplit('.').next().unwrap_or_default();
    let form = |what: &str| what.to_owned();
    match value {
        Value::Object(fields) => {
            if fields.is_empty() {
                seen.insert(path.to_owned(), form("{}"));
            }
            for (name, value) in fields {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                if exchange.compare == Compare::All
                    || READ.iter().any(|read| path.ends_with(read) || read.starts_with(&path))
                {
                    flatten(&path, value, exchange, seen);
                }
            }
        }
        Value::Array(items) if items.iter().all(Value::is_number) && !items.is_empty() => {
            let norm = items.iter().map(|item| item.as_f64().unwrap().powi(2)).sum::<f64>().sqrt();
            let unit = if (norm - 1.0).abs() < 1e-3 { "of norm 1" } else { "raw" };
            let unit = if path == "embedding" { "of any norm" } else { unit };
            seen.insert(path.to_owned(), format!("{} numbers {unit}", items.len()));
        }
        Value::Array(items) => {
            seen.insert(path.to_owned(), format!("{} items", items.len()));
            for (index, item) in items.iter().enumerate() {
                flatten(&format!("{path}.{index}"), item, exchange, seen);
            }
        }
        Value::Number(_) if last.ends_with("_duration") || last.starts_with("size") => {
            seen.insert(path.to_owned(), form("a number"));
        }
        Value::String(text) if last == "digest" => {
            let hexadecimal = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            seen.insert(path.to_owned(), form(if hexadecimal { "64 digits" } else { "not a digest" }));
        }
        Value::String(text) if last == "expires_at" || last == "modified_at" => {
            let date = text.as_bytes().get(10) == Some(&b'T');
            seen.insert(path.to_owned(), form(if date { "a date" } else { "not a date" }));
        }
        // A build may add a name of its own to its version.
        Value::String(text) if path == "version" => {
            seen.insert(path.to_owned(), text.split('-').next().unwrap_or_default().to_owned());
        }
        other => drop(seen.insert(path.to_owned(), other.to_string())),
    }
}

/// What the client reads of lists and descriptions of models.
const READ: [&str; 14] = [
    "models.0.name",
    "models.0.model",
    "models.0.digest",
    "models.0.size",
    "models.0.modified_at",
    "models.0.expires_at",
    "models.0.details.family",
    "models.0.details.format",
    "details.family",
    "model_info.general.architecture",
    "model_info.bert.context_length",
    "model_info.bert.embedding_length",
    "model_info.bert.pooling_type",
    "error",
];

#[tokio::test]
async fn the_double_answers_as_the_real_server_does() {
    let mut differences = Vec::new();
    for version in REAL {
        let Some(server) = rig::require(version) else {
            continue;
        };
        let double = OllamaDouble::start(version).await;
        double.change(|script| script.chat_model = None);
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(plain_only())
            .redirect(reqwest::redirect::Policy::none())
            .timeout(Duration::from_secs(60))
            .no_proxy()
            .build()
            .unwrap();
        let real_version = play(&client, server.url(), &get("the version", "/api/version")).await;
        let (mut fields, exchanges) = (0, exchanges());
        for exchange in &exchanges {
            let real = play(&client, server.url(), exchange).await;
            let ours = play(&client, &double.url(), exchange).await;
            fields += real.len();
            let paths: std::collections::BTreeSet<_> = real.keys().chain(ours.keys()).collect();
            for path in paths {
                let (real, ours) = (real.get(path), ours.get(path));
                if real != ours {
                    differences.push(format!("{}: {path}: real {real:?}, double {ours:?}", exchange.name));
                }
            }
        }
        println!(
            "{version} ({:?}): {} requests, {fields} fields",
            real_version.get("version"),
            exchanges.len()
        );
    }
    assert!(differences.is_empty(), "\n{}", differences.join("\n"));
}

fn plain_only() -> rustls::ClientConfig {
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth()
}
