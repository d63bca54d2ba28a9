//! The available models with the stack behind them, and the lookup of a model by name.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use axum::http::HeaderValue;
use embed_core::{Embedder, ModelInfo, Result, Role, Space};
use sha2::{Digest, Sha256};

use crate::error::wrong;
use crate::models::ModelEntry;

/// A model with what every answer needs.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) entry: ModelEntry,
    /// What embeds its texts.
    pub(crate) stack: Arc<dyn Embedder>,
    /// The name with its tag.
    pub(crate) tagged: String,
    /// Stands in for Ollama's digest of a manifest: the digest of the variant, so it changes with the numbers.
    pub(crate) digest: String,
    pub(crate) modified: SystemTime,
    /// The space as a header, if it is a valid value.
    pub(crate) space_header: Option<HeaderValue>,
    /// Whether its service has connected; before that, the model isn't known.
    known: bool,
}

/// All models by name, and what embeds their texts. A request that has found its model keeps both, whatever is put in their
/// place meanwhile.
#[derive(Debug)]
pub(crate) struct Catalogue {
    stack: Arc<dyn Embedder>,
    listed: Vec<ListedModel>,
    /// By name in lower case, tag included.
    by_name: HashMap<String, usize>,
}

/// An available model, as described at the start and as found once its service has connected.
#[derive(Debug)]
struct ListedModel {
    first: Arc<Model>,
    found: OnceLock<Arc<Model>>,
}

/// The model and the role that a name stands for.
#[derive(Debug, Clone)]
pub(crate) struct NamedModel {
    pub(crate) model: Arc<Model>,
    /// The role of the name's suffix.
    pub(crate) role: Option<Role>,
}

impl Catalogue {
    pub(crate) fn new(stack: Arc<dyn Embedder>, models: &[ModelEntry], started: SystemTime) -> Result<Self> {
        if models.is_empty() {
            return Err(wrong("models", "must name at least one model"));
        }
        let mut catalogue = Self { stack, listed: Vec::new(), by_name: HashMap::new() };
        for entry in models {
            for name in std::iter::once(&entry.name).chain(&entry.aliases) {
                if name.trim().is_empty() || name.chars().any(char::is_control) {
                    return Err(wrong("models", "must have printable, non-empty names"));
                }
                if suffix_role(name).is_some() {
                    let why = format!("has `{name}`, whose end is a role: leave `:query` or `:document` off");
                    return Err(wrong("models", &why));
                }
                if catalogue.by_name.insert(canonical(name), catalogue.listed.len()).is_some() {
                    return Err(wrong("models", &format!("has the name `{name}` twice")));
                }
            }
            let first = Arc::new(Model::new(entry.clone(), &catalogue.stack, started));
            catalogue.listed.push(ListedModel { first, found: OnceLock::new() });
        }
        Ok(catalogue)
    }

    /// The model with a name, which may have a role as a suffix.
    pub(crate) fn find(&self, name: &str) -> Option<NamedModel> {
        let named = |name: &str, role| {
            let index = *self.by_name.get(&canonical(name))?;
            Some(NamedModel { model: Arc::clone(self.listed[index].model()), role })
        };
        named(name, None).or_else(|| suffix_role(name).and_then(|(name, role)| named(name, Some(role))))
    }

    /// The model for requests that can't name one.
    pub(crate) fn first(&self) -> Arc<Model> {
        Arc::clone(self.listed[0].model())
    }

    /// What embeds the texts of all models.
    pub(crate) fn stack(&self) -> &dyn Embedder {
        &*self.stack
    }

    pub(crate) fn models(&self) -> impl Iterator<Item = &Arc<Model>> {
        self.listed.iter().map(ListedModel::model)
    }
}

impl ListedModel {
    fn model(&self) -> &Arc<Model> {
        let Some(source) = &self.first.entry.source else { return &self.first };
        if let Some(found) = self.found.get() {
            return found;
        }
        let Some((info, details)) = source.look() else { return &self.first };
        let entry = ModelEntry { info, details, source: None, ..self.first.entry.clone() };
        self.found.get_or_init(|| Arc::new(Model::new(entry, &self.first.stack, SystemTime::now())))
    }
}

impl Model {
    fn new(entry: ModelEntry, stack: &Arc<dyn Embedder>, started: SystemTime) -> Self {
        let digest = Sha256::digest(entry.info.variant().id().as_bytes());
        Self {
            tagged: with_tag(&entry.name),
            digest: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
            modified: entry.details.modified.unwrap_or(started),
            space_header: HeaderValue::from_str(entry.info.space().id()).ok().filter(|_| !entry.mixed),
            known: entry.source.is_none(),
            stack: Arc::clone(stack),
            entry,
        }
    }

    /// The model; `None` until its service has connected.
    pub(crate) fn info(&self) -> Option<&ModelInfo> {
        self.known.then_some(&self.entry.info)
    }

    /// The space of the name's vectors; `None` if there are several, or if it isn't known yet.
    pub(crate) fn space(&self) -> Option<&Space> {
        self.info().filter(|_| !self.entry.mixed).map(ModelInfo::space)
    }

    /// Whether texts could be embedded. A name for several models counts as available.
    pub(crate) fn is_there(&self) -> bool {
        self.known || self.entry.mixed
    }

    /// When the model was created or found, in seconds since 1970.
    pub(crate) fn created(&self) -> u64 {
        self.modified.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
    }
}

/// A name without its role suffix, and the role.
fn suffix_role(name: &str) -> Option<(&str, Role)> {
    let (name, suffix) = name.rsplit_once(':')?;
    let roles = [("query", Role::Query), ("document", Role::Document), ("passage", Role::Document)];
    let (_, role) = roles.into_iter().find(|(word, _)| suffix.eq_ignore_ascii_case(word))?;
    Some((name, role))
}

/// A name as Ollama compares it: without the address of its registry or of the hub, with a tag, in lower case.
fn canonical(name: &str) -> String {
    let mut name = name.trim();
    for default in ["registry.ollama.ai/", "https://huggingface.co/", "huggingface.co/", "hf.co/", "library/"]
    {
        name = name.strip_prefix(default).unwrap_or(name);
    }
    with_tag(name).to_lowercase()
}

fn with_tag(name: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or(name);
    if last.contains(':') { name.to_owned() } else { format!("{name}:latest") }
}

#[cfg(test)]
mod tests {
    use embed_core::{Space, Variant};

    use super::*;

    fn entry(name: &str) -> ModelEntry {
        let variant = Variant::new(Space::builder(name, 4).build(), [("v", "1")]);
        ModelEntry::new(name, ModelInfo::builder("test", name, variant).build())
    }

    fn catalogue(models: &[ModelEntry]) -> Result<Catalogue> {
        Catalogue::new(Arc::new(embed_testkit::Scripted::new("a", 4)), models, SystemTime::now())
    }

    #[test]
    fn names_are_found_as_ollama_finds_them() {
        let hub = ["sentence-transformers/all-MiniLM-L6-v2"];
        let models = [
            entry("all-minilm").with_aliases(hub),
            entry("intfloat/e5:small").with_aliases(["text-embedding-3-small"]),
        ];
        let catalogue = catalogue(&models).unwrap();
        for (name, found, role) in [
            ("all-minilm", "all-minilm", None),
            ("ALL-minilm:latest", "all-minilm", None),
            ("registry.ollama.ai/library/all-minilm", "all-minilm", None),
            ("all-minilm:query", "all-minilm", Some(Role::Query)),
            ("all-minilm:latest:Document", "all-minilm", Some(Role::Document)),
            ("intfloat/e5:small:passage", "intfloat/e5:small", Some(Role::Document)),
            ("text-embedding-3-small:query", "intfloat/e5:small", Some(Role::Query)),
            ("sentence-transformers/all-MiniLM-L6-v2", "all-minilm", None),
            ("Sentence-Transformers/all-minilm-l6-v2:latest:Query", "all-minilm", Some(Role::Query)),
            ("hf.co/sentence-transformers/all-MiniLM-L6-v2", "all-minilm", None),
        ] {
            let named = catalogue.find(name).unwrap_or_else(|| panic!("{name}"));
            assert_eq!((named.model.entry.name.as_str(), named.role), (found, role), "{name}");
        }
        for unknown in ["", "all-minilm:33m", "intfloat/e5", "minilm", ":query"] {
            assert!(catalogue.find(unknown).is_none(), "{unknown}");
        }
    }

    #[test]
    fn names_that_would_be_ambiguous_are_refused() {
        for models in [
            vec![entry("a"), entry("A:latest")],
            vec![entry("a").with_aliases(["a"])],
            vec![entry("a:query")],
            vec![entry(" ")],
            vec![],
        ] {
            assert!(catalogue(&models).is_err(), "{models:?}");
        }
    }
}
