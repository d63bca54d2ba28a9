//! The settings of a model: its names, its description, and the details shown to clients.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use embed_core::{ModelInfo, Role};

use crate::hooks::Tokenizer;

/// A model that callers can name.
///
/// A name answers in one space, that of `info`: a vector of another space is an error, because comparing the vectors would
/// be meaningless. Only a model that is [`mixed`](Self::mixed) may answer in several, and then each row names its space.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ModelEntry {
    /// The name. As in Ollama, case doesn't matter and a missing tag is `latest`.
    pub name: String,
    /// Further names.
    pub aliases: Vec<String>,
    /// The model's description. It isn't shown or relied upon until [`source`](Self::source), if any, has answered.
    pub info: ModelInfo,
    /// Describes the model once its service has connected, if that may be later than the gateway's start.
    pub source: Option<Arc<dyn ModelSource>>,
    /// The role of texts if the request doesn't set one; documents by default.
    pub role: Role,
    /// The route for it; `None` lets the router choose.
    pub route: Option<Arc<str>>,
    /// Whether rows may be of several spaces, like those of a router that chooses by language.
    pub mixed: bool,
    /// Details that Ollama's clients show.
    pub details: ModelDetails,
    /// The tokenizer for `/tokenize`, if it is in this process.
    pub tokenizer: Option<Arc<dyn Tokenizer>>,
}

/// Details of a model that Ollama's clients show. Nothing depends on them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ModelDetails {
    /// The architecture, such as `bert`, which is the default.
    pub family: Option<String>,
    /// The format of the file, such as `onnx`.
    pub format: String,
    /// The number of parameters.
    pub parameters: Option<u64>,
    /// The precision of the weights in Ollama's terms, such as `Q8_0`.
    pub quantization_level: String,
    /// The data type of the computation in TEI's terms, such as `float32`.
    pub dtype: Option<String>,
    /// The size of the weights in bytes.
    pub size: Option<u64>,
    /// When the model was installed.
    pub modified: Option<SystemTime>,
}

/// Describes a model whose service may connect after the gateway has started.
pub trait ModelSource: fmt::Debug + Send + Sync + 'static {
    /// The model and its details; `None` until its service has connected. It is called whenever a request names the model
    /// or lists the models, until it has returned a description, which is then kept.
    fn look(&self) -> Option<(ModelInfo, ModelDetails)>;
}

impl ModelEntry {
    /// A model with a name, in one space, for documents unless a request says otherwise.
    pub fn new(name: impl Into<String>, info: ModelInfo) -> Self {
        Self {
            name: name.into(),
            aliases: Vec::new(),
            info,
            source: None,
            role: Role::Document,
            route: None,
            mixed: false,
            details: ModelDetails::default(),
            tokenizer: None,
        }
    }

    /// Sets further names.
    #[must_use]
    pub fn with_aliases<A: Into<String>>(mut self, aliases: impl IntoIterator<Item = A>) -> Self {
        self.aliases = aliases.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the role of texts if the request doesn't set one.
    #[must_use]
    pub fn with_role(mut self, role: Role) -> Self {
        self.role = role;
        self
    }

    /// Sets the route for it.
    #[must_use]
    pub fn with_route(mut self, route: impl Into<Arc<str>>) -> Self {
        self.route = Some(route.into());
        self
    }

    /// Sets whether rows may be of several spaces.
    #[must_use]
    pub fn with_mixed_spaces(mut self, mixed: bool) -> Self {
        self.mixed = mixed;
        self
    }

    /// Sets what describes the model once its service has connected.
    #[must_use]
    pub fn with_source(mut self, source: Arc<dyn ModelSource>) -> Self {
        self.source = Some(source);
        self
    }

    /// Sets the tokenizer.
    #[must_use]
    pub fn with_tokenizer(mut self, tokenizer: Arc<dyn Tokenizer>) -> Self {
        self.tokenizer = Some(tokenizer);
        self
    }

    /// Sets the details that Ollama's clients show.
    #[must_use]
    pub fn with_details(mut self, details: ModelDetails) -> Self {
        self.details = details;
        self
    }
}

impl ModelDetails {
    /// Sets architecture and format.
    #[must_use]
    pub fn with_family(mut self, family: impl Into<String>, format: impl Into<String>) -> Self {
        self.family = Some(family.into());
        self.format = format.into();
        self
    }

    /// Sets the number of parameters and the size of the weights in bytes, if known.
    #[must_use]
    pub fn with_size(mut self, parameters: Option<u64>, bytes: Option<u64>) -> Self {
        self.parameters = parameters;
        self.size = bytes;
        self
    }

    /// Sets the precision of the weights in Ollama's terms, and the data type in TEI's.
    #[must_use]
    pub fn with_precision(mut self, quantization: impl Into<String>, dtype: Option<&str>) -> Self {
        self.quantization_level = quantization.into();
        self.dtype = dtype.map(str::to_owned);
        self
    }

    /// The number of parameters as Ollama writes it: `22.57M`; empty if unknown.
    pub(crate) fn parameter_size(&self) -> String {
        let Some(parameters) = self.parameters else { return String::new() };
        let (divisor, unit) = match parameters {
            1_000_000_000.. => (1e9, "B"),
            1_000_000.. => (1e6, "M"),
            _ => (1e3, "K"),
        };
        let number = format!("{:.2}", parameters as f64 / divisor);
        format!("{}{unit}", number.trim_end_matches('0').trim_end_matches('.'))
    }

    /// The architecture.
    pub(crate) fn family(&self) -> &str {
        self.family.as_deref().unwrap_or("bert")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_parameters_are_written_as_ollama_writes_them() {
        for (parameters, words) in [
            (Some(22_565_376), "22.57M"),
            (Some(8_030_261_248), "8.03B"),
            (Some(137_000_000), "137M"),
            (None, ""),
        ] {
            assert_eq!(ModelDetails::default().with_size(parameters, None).parameter_size(), words);
        }
    }
}
