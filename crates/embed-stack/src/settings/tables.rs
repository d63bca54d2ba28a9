//! The tables of a file as they are written, before anything is made of them.

use std::path::PathBuf;

use serde::Deserialize;

/// What every `[[model]]` has.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CommonTable {
    /// Its name, for routes, metrics and callers.
    pub(super) name: String,
    /// What computes its vectors.
    #[serde(default)]
    pub(super) backend: BackendName,
    /// The languages that it reads, as ISO 639 codes.
    pub(super) languages: Option<Vec<String>>,
    /// The model with the same vectors that takes its texts while it is unavailable.
    pub(super) fallback: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum BackendName {
    #[default]
    Encoder,
    Ollama,
    OpenAi,
}

/// The fields of [`CommonTable`].
pub(super) const COMMON: [&str; 4] = ["name", "backend", "languages", "fallback"];

/// The rest of a `[[model]]`, by its back end.
#[derive(Debug, Clone)]
pub(super) enum BackendTable {
    Encoder(EncoderTable),
    Ollama(OllamaTable),
    OpenAi(OpenAiTable),
}

/// A model in this process.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EncoderTable {
    /// A built-in name or a repository on the hub; the model's name if it isn't set.
    pub(super) model: Option<String>,
    /// The commit of the repository.
    pub(super) revision: Option<String>,
    /// A folder with the files of a repository.
    pub(super) folder: Option<PathBuf>,
    pub(super) precision: Option<String>,
    pub(super) pooling: Option<PoolingName>,
    pub(super) normalise: Option<bool>,
    pub(super) query_prompt: Option<String>,
    pub(super) document_prompt: Option<String>,
    pub(super) max_tokens: Option<usize>,
    pub(super) space: Option<String>,
    pub(super) keep_alive: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum PoolingName {
    Mean,
    Cls,
}

impl EncoderTable {
    /// Whether it says something of the model itself.
    pub(super) fn is_custom(&self) -> bool {
        !self.custom_keys().is_empty()
    }

    /// The keys that are there and say something of the model itself.
    pub(super) fn custom_keys(&self) -> Vec<&'static str> {
        [
            ("revision", self.revision.is_some()),
            ("pooling", self.pooling.is_some()),
            ("normalise", self.normalise.is_some()),
            ("query_prompt", self.query_prompt.is_some()),
            ("document_prompt", self.document_prompt.is_some()),
            ("max_tokens", self.max_tokens.is_some()),
            ("space", self.space.is_some()),
        ]
        .into_iter()
        .filter_map(|(key, is_there)| is_there.then_some(key))
        .collect()
    }
}

/// A model at Ollama. What isn't set is as under `[ollama]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OllamaTable {
    pub(super) model: Option<String>,
    pub(super) url: Option<OneOrMany>,
    pub(super) pool_size: Option<usize>,
    pub(super) timeout: Option<f64>,
}

/// A model at servers that speak OpenAI's API.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OpenAiTable {
    pub(super) model: Option<String>,
    pub(super) url: OneOrMany,
    /// A file with the key.
    pub(super) key_file: Option<PathBuf>,
    /// A variable with the key.
    pub(super) key_variable: Option<String>,
    pub(super) space: Option<String>,
    pub(super) dimension: Option<usize>,
    pub(super) dimensions: Option<usize>,
    pub(super) normalise: Option<bool>,
    pub(super) max_tokens: Option<usize>,
    pub(super) query_prompt: Option<String>,
    pub(super) document_prompt: Option<String>,
    pub(super) pool_size: Option<usize>,
    pub(super) timeout: Option<f64>,
    pub(super) max_batch_rows: Option<usize>,
}

/// One text or a list of them.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, expecting = "must be an address, or a list of them")]
pub(super) enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    pub(super) fn as_slice(&self) -> &[String] {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::Many(texts) => texts,
        }
    }
}
