//! Who a server is: proven by the vectors of a fixed set of texts, named by digest and version.

use embed_core::{ModelInfo, Pooling, Space, Variant};
use embed_remote::{Drift, SAME_NUMBERS, drift};
use serde::{Deserialize, Serialize};

/// Who a server was when it was asked: keep it (it is serialisable) and hand it to
/// [`OllamaConfig::expected`](crate::OllamaConfig::expected) to be sure that a later run gives the same
/// vectors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    model: String,
    space: String,
    pooling: String,
    digest: String,
    server: String,
    probes: Vec<Vec<f32>>,
}

impl Identity {
    pub(crate) fn new(
        model: &str,
        digest: &str,
        server: &str,
        pooling: Pooling,
        probes: Vec<Vec<f32>>,
    ) -> Self {
        Self {
            model: model.to_owned(),
            space: space_name(model),
            pooling: match pooling {
                Pooling::Mean => "mean",
                Pooling::Cls => "cls",
                Pooling::LastToken => "last-token",
                _ => "unknown",
            }
            .to_owned(),
            digest: digest.to_owned(),
            server: server.to_owned(),
            probes,
        }
    }

    /// SHA-256 of the model's manifest, as the server names it; empty if it didn't say.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The version of the server.
    #[must_use]
    pub fn server_version(&self) -> &str {
        &self.server
    }

    /// Numbers in a vector.
    #[must_use]
    pub fn dimension(&self) -> usize {
        self.probes.first().map_or(0, Vec::len)
    }

    /// The model's name at the server.
    #[must_use]
    pub fn model(&self) -> &str {
        &self.model
    }

    /// Compares the vectors of both.
    pub(crate) fn drift_to(&self, other: &Self) -> Drift {
        drift(&self.probes, &other.probes, SAME_NUMBERS)
    }

    /// Takes the space of another identity over: its vectors may be compared with these.
    pub(crate) fn in_space_of(mut self, other: &Self) -> Self {
        self.space.clone_from(&other.space);
        self.pooling.clone_from(&other.pooling);
        self
    }

    /// What vectors of this identity are, cut to `dimensions` if that is less than the model has.
    pub(crate) fn model_info(&self, limit: Option<usize>, dimensions: Option<usize>) -> ModelInfo {
        let pooling = match self.pooling.as_str() {
            "mean" => Pooling::Mean,
            "cls" => Pooling::Cls,
            "last-token" => Pooling::LastToken,
            _ => Pooling::Unknown,
        };
        let space = Space::builder(&self.space, self.dimension()).pooling(pooling).build();
        let mut traits = Vec::new();
        if !self.digest.is_empty() {
            // 64 bits tell a handful of models apart and keep ids readable.
            traits.push(("digest", self.digest.get(..16).unwrap_or(&self.digest)));
        }
        traits.push(("server", self.server.as_str()));
        let limit_text = limit.map(|limit| limit.to_string());
        if let Some(limit) = &limit_text {
            traits.push(("context", limit));
        }
        let mut builder = ModelInfo::builder("ollama", &self.model, Variant::new(space, traits));
        if let Some(limit) = limit {
            builder = builder.max_tokens(limit);
        }
        let info = builder.build();
        match dimensions {
            Some(dimensions) if dimensions < self.dimension() => info.with_dimension(dimensions),
            _ => info,
        }
    }
}

/// A model's name without what says nothing: the default registry and namespace, and the tag `latest`. Any
/// other tag stays, since it may name a size or a precision; two names of one model are found equal by
/// their vectors, not by their names.
pub(crate) fn space_name(model: &str) -> String {
    let name = model.trim().to_lowercase();
    let name = name.strip_prefix("registry.ollama.ai/").unwrap_or(&name);
    let name = name.strip_prefix("library/").unwrap_or(name);
    name.strip_suffix(":latest").unwrap_or(name).to_owned()
}

/// Whether two names mean one model to a server.
pub(crate) fn same_model(a: &str, b: &str) -> bool {
    space_name(a) == space_name(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(values: [f32; 3]) -> Identity {
        Identity::new("all-minilm:latest", "1b226e", "0.5.4", Pooling::Mean, vec![values.to_vec()])
    }

    #[test]
    fn names_of_one_model_are_equal() {
        for name in [
            "all-minilm",
            "all-minilm:latest",
            "library/all-minilm",
            "registry.ollama.ai/library/All-MiniLM:latest",
        ] {
            assert!(same_model("all-minilm", name), "{name}");
        }
        assert!(!same_model("all-minilm", "all-minilm:33m"));
        assert!(!same_model("all-minilm", "someone/all-minilm"));
    }

    #[test]
    fn vectors_decide() {
        let old = identity([1.0, 0.0, 0.0]);
        assert_eq!(old.drift_to(&identity([1.0, 0.001, 0.0])), Drift::None);
        assert!(matches!(old.drift_to(&identity([1.0, 0.1, 0.0])), Drift::Moved(_)));
        assert!(matches!(old.drift_to(&identity([0.0, 1.0, 0.0])), Drift::Foreign(_)));
    }

    #[test]
    fn an_identity_survives_a_file_and_names_its_variant() {
        let old = identity([1.0, 0.0, 0.0]);
        let text = serde_json::to_string(&old).unwrap();
        assert_eq!(serde_json::from_str::<Identity>(&text).unwrap(), old);
        let info = old.model_info(Some(512), None);
        assert_eq!(info.variant().id(), "all-minilm/mean/plain/l2/3;digest=1b226e;server=0.5.4;context=512");
        assert_eq!(old.model_info(None, Some(2)).dimension(), 2);
    }
}
