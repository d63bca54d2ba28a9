//! Shows a document, as TOML that would declare it and as JSON.

use std::fmt::Write as _;

use embed_core::{Normalisation, Pooling};
use embed_encoder::CustomSource;
use embed_ollama::{OllamaConfig, shown_url};
use embed_openai::OpenAiConfig;
use serde_json::{Map, Value};

use super::document::{BackendSpec, Document, EncoderSource, ModelSpec};

/// The document as tables of a file.
#[must_use]
pub fn toml(document: &Document) -> String {
    let mut page = String::new();
    for model in &document.models {
        page.push_str("\n[[model]]\n");
        for (key, value) in entries(model) {
            let _ = writeln!(page, "{key} = {value}");
        }
    }
    page.push_str("\n[routes]\n");
    for (language, route) in &document.routes {
        let bare = language.bytes().all(|byte| byte.is_ascii_lowercase());
        let language = if bare { language.clone() } else { format!("{language:?}") };
        let _ = writeln!(page, "{language} = {route:?}");
    }
    page
}

/// The document as an object.
#[must_use]
pub fn json(document: &Document) -> Value {
    let models = document.models.iter().map(|model| {
        entries(model).into_iter().map(|(key, value)| (key.to_owned(), value)).collect::<Map<_, _>>()
    });
    serde_json::json!({ "model": models.collect::<Vec<_>>(), "routes": document.routes })
}

/// The entries of a `[[model]]`, without those that are as by default. A JSON value of these kinds is a TOML value, too.
fn entries(model: &ModelSpec) -> Vec<(&'static str, Value)> {
    let mut entries: Vec<(&'static str, Value)> = vec![("name", model.name.clone().into())];
    let mut add = |key, value: Option<Value>| entries.extend(value.map(|value| (key, value)));
    match &model.backend {
        BackendSpec::Encoder(encoder) => {
            add("backend", Some("encoder".into()));
            match &encoder.source {
                EncoderSource::Known(profile) => add("model", Some(profile.name.into())),
                EncoderSource::Custom(custom) => {
                    match &custom.source {
                        CustomSource::Folder(folder) => {
                            add("folder", Some(folder.display().to_string().into()))
                        }
                        CustomSource::Hub { repository, revision } => {
                            add("model", Some(repository.clone().into()));
                            add("revision", Some(revision.clone().into()));
                        }
                        _ => {}
                    }
                    add(
                        "pooling",
                        custom
                            .pooling
                            .map(|pooling| if pooling == Pooling::Cls { "cls" } else { "mean" }.into()),
                    );
                    let is_normalised = |normalisation| normalisation == Normalisation::L2;
                    add("normalise", custom.normalisation.map(is_normalised).map(Value::from));
                    add("max_tokens", custom.max_tokens.map(Value::from));
                    add("space", custom.space.clone().map(Value::from));
                    let (query, document) = custom.prompts.clone().unzip();
                    add("query_prompt", query.map(Value::from));
                    add("document_prompt", document.map(Value::from));
                }
            }
            add("precision", Some(encoder.precision.to_string().into()));
            add("keep_alive", encoder.keep_alive.map(|time| time.as_secs_f64().into()));
        }
        BackendSpec::Ollama(config) => {
            add("backend", Some("ollama".into()));
            add("model", Some(config.model.clone().into()));
            let urls: Vec<_> = config.servers.iter().map(|url| shown_url(url)).collect();
            add("url", Some(urls.into()));
            let default = OllamaConfig::default();
            add("pool_size", other(config.pool_size, default.pool_size));
            add(
                "timeout",
                other(config.request_timeout.as_secs_f64(), default.request_timeout.as_secs_f64()),
            );
        }
        BackendSpec::OpenAi(config) => {
            add("backend", Some("openai".into()));
            add("model", Some(config.model.clone().into()));
            let urls: Vec<_> = config.servers.iter().map(|url| shown_url(url)).collect();
            add("url", Some(urls.into()));
            add("key_file", config.key_file.as_ref().map(|file| file.display().to_string().into()));
            add("space", config.space.clone().map(Value::from));
            add("dimension", config.dimension.map(Value::from));
            add("dimensions", config.dimensions.map(Value::from));
            add("max_tokens", config.max_tokens.map(Value::from));
            let default = OpenAiConfig::new("", "");
            add("normalise", other(config.normalise, default.normalise));
            add("query_prompt", other(&*config.prompts.query, &*default.prompts.query));
            add("document_prompt", other(&*config.prompts.document, &*default.prompts.document));
            add("pool_size", other(config.pool_size, default.pool_size));
            add(
                "timeout",
                other(config.request_timeout.as_secs_f64(), default.request_timeout.as_secs_f64()),
            );
            add("max_batch_rows", other(config.max_batch_rows, default.max_batch_rows));
        }
    }
    add("languages", model.languages.clone().map(Value::from));
    add("fallback", model.fallback.clone().map(Value::from));
    entries
}

/// A value that isn't the default.
fn other<T: PartialEq + Into<Value>>(value: T, default: T) -> Option<Value> {
    (value != default).then(|| value.into())
}
