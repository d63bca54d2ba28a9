//! The messages of Ollama's protocol, as far as an embedding client reads and writes them.

use embed_remote::{Numbers, Rows};
use serde::de::{DeserializeSeed, IgnoredAny};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::config::ModelOptions;

#[derive(Debug, Serialize)]
pub(crate) struct EmbedBody<'a> {
    pub(crate) model: &'a str,
    pub(crate) input: &'a [&'a str],
    /// Always said: what is too long must be an error, never a silent cut.
    pub(crate) truncate: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) keep_alive: Option<i64>,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) options: &'a ModelOptions,
}

/// The legacy route's form.
#[derive(Debug, Serialize)]
pub(crate) struct EmbeddingsBody<'a> {
    pub(crate) model: &'a str,
    pub(crate) prompt: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) keep_alive: Option<i64>,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) options: &'a ModelOptions,
}

fn is_default(options: &&ModelOptions) -> bool {
    **options == ModelOptions::default()
}

#[derive(Debug, Deserialize)]
pub(crate) struct EmbedAnswer {
    pub(crate) embeddings: Rows,
    #[serde(default)]
    pub(crate) prompt_eval_count: Option<usize>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct EmbeddingsAnswer {
    pub(crate) embedding: Row,
}

/// One row.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Row(pub(crate) Vec<f32>);

impl From<Row> for Rows {
    fn from(Row(values): Row) -> Self {
        let mut rows = Self::default();
        rows.push(&values);
        rows
    }
}

impl<'de> Deserialize<'de> for Row {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut row = Self::default();
        Numbers(&mut row.0).deserialize(deserializer)?;
        Ok(row)
    }
}

#[derive(Debug, Deserialize)]
pub(crate) struct VersionAnswer {
    pub(crate) version: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct TagsAnswer {
    #[serde(default)]
    pub(crate) models: Option<Vec<ModelEntry>>,
}

/// A model as `/api/tags` and `/api/ps` list it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ModelEntry {
    pub(crate) name: String,
    pub(crate) size: u64,
    pub(crate) digest: String,
    pub(crate) modified_at: Option<String>,
    pub(crate) details: Details,
    pub(crate) context_length: Option<usize>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Details {
    pub(crate) family: String,
    pub(crate) parameter_size: String,
    pub(crate) quantization_level: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ShowAnswer {
    pub(crate) parameters: String,
    pub(crate) details: Details,
    pub(crate) model_info: Option<Map<String, Value>>,
    pub(crate) capabilities: Option<Vec<String>>,
}

impl ShowAnswer {
    /// The kind of network: `bert`, `llama`.
    pub(crate) fn architecture(&self) -> Option<&str> {
        self.model_info.as_ref()?.get("general.architecture")?.as_str()
    }

    /// A fact of the network, such as `context_length`.
    pub(crate) fn number(&self, fact: &str) -> Option<u64> {
        let key = format!("{}.{fact}", self.architecture()?);
        self.model_info.as_ref()?.get(&key)?.as_u64()
    }

    /// The number of weights.
    pub(crate) fn count(&self) -> Option<u64> {
        self.model_info.as_ref()?.get("general.parameter_count")?.as_u64()
    }

    pub(crate) fn flag(&self, key: &str) -> Option<bool> {
        self.model_info.as_ref()?.get(key)?.as_bool()
    }

    /// The context that the model's author set.
    pub(crate) fn num_ctx(&self) -> Option<usize> {
        self.parameters.lines().find_map(|line| {
            let mut words = line.split_whitespace();
            (words.next()? == "num_ctx").then(|| words.next()?.parse().ok())?
        })
    }

    /// Whether the model is for embedding; `None` if the server doesn't describe it.
    pub(crate) fn embeds(&self) -> Option<bool> {
        if let Some(capabilities) = &self.capabilities
            && capabilities.iter().any(|one| one == "embedding")
        {
            return Some(true);
        }
        self.architecture()?;
        Some(self.number("pooling_type").is_some())
    }
}

/// A line of the answer to a pull. `status` may be a number beside an error.
#[derive(Debug, Deserialize)]
pub(crate) struct PullLine {
    #[serde(default)]
    pub(crate) status: Value,
    #[serde(default)]
    pub(crate) digest: Option<String>,
    #[serde(default)]
    pub(crate) total: Option<u64>,
    #[serde(default)]
    pub(crate) completed: Option<u64>,
    #[serde(default)]
    pub(crate) error: Option<Value>,
}

/// The body of an error, in the forms in which it comes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ErrorBody {
    /// Nothing at all.
    Empty,
    /// `{"error": {}}`, which hides the cause.
    Hidden,
    /// A text.
    Text(String),
    /// Not JSON, or JSON of somebody else.
    Foreign,
}

impl ErrorBody {
    pub(crate) fn read(body: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Form {
            error: Value,
        }
        if body.trim_ascii().is_empty() {
            return Self::Empty;
        }
        let Ok(Form { error }) = serde_json::from_slice(body) else {
            return Self::Foreign;
        };
        match error {
            Value::String(text) => Self::Text(text),
            Value::Object(fields) if fields.is_empty() => Self::Hidden,
            Value::Object(fields) => match fields.get("message") {
                Some(Value::String(text)) => Self::Text(text.clone()),
                _ => Self::Foreign,
            },
            _ => Self::Foreign,
        }
    }
}

/// Whether a body is JSON at all: a proxy's page isn't.
pub(crate) fn is_json(body: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(body).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_rows_and_numbers_dont_spoil_the_others() {
        let answer: EmbedAnswer =
            serde_json::from_str(r#"{"model":"m","embeddings":[[1.5,2],null,[null,1e-08]],"x":1}"#).unwrap();
        assert_eq!(answer.embeddings.len(), 3);
        assert_eq!(answer.embeddings.row(0), [1.5, 2.0]);
        assert!(answer.embeddings.row(1).is_empty());
        assert!(answer.embeddings.row(2)[0].is_nan());
        assert_eq!(answer.embeddings.row(2)[1], 1e-8);
        assert_eq!(answer.prompt_eval_count, None);
        assert!(serde_json::from_str::<EmbedAnswer>(r#"{"embeddings":[["x"]]}"#).is_err());
    }

    #[test]
    fn errors_come_in_many_forms() {
        let read = |text: &str| ErrorBody::read(text.as_bytes());
        assert_eq!(read(" "), ErrorBody::Empty);
        assert_eq!(read(r#"{"error":{}}"#), ErrorBody::Hidden);
        assert_eq!(read(r#"{"error":"x"}"#), ErrorBody::Text("x".into()));
        assert_eq!(read(r#"{"error":{"message":"x","type":"t"}}"#), ErrorBody::Text("x".into()));
        assert_eq!(read("<html>"), ErrorBody::Foreign);
        assert_eq!(read(r#"{"code":"not_found"}"#), ErrorBody::Foreign);
    }

    #[test]
    fn the_author_of_a_model_may_set_its_context() {
        let show: ShowAnswer = serde_json::from_str(
            r#"{"parameters":"num_ctx                        256\nstop \"x\"",
                "model_info":{"general.architecture":"bert","bert.context_length":512,"bert.pooling_type":1}}"#,
        )
        .unwrap();
        assert_eq!(show.num_ctx(), Some(256));
        assert_eq!(show.number("context_length"), Some(512));
        assert_eq!(show.embeds(), Some(true));
    }
}
