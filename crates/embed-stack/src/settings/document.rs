//! The document: which models there are, and which text goes where. Everything behind the settings knows models by it.
//!
//! A file declares it in `[[model]]` tables and `[routes]`; without them it is one of the presets that
//! `TMWS_EMBEDDING_SERVICE` names.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use embed_core::{ModelInfo, Space, Variant};
use embed_encoder::assets::DataHome;
use embed_encoder::{CustomModel, Precision, Profile};
use embed_ollama::OllamaConfig;
use embed_openai::OpenAiConfig;
use embed_router::{Kind, Policy, Reads};

/// The key of the route for every language that has none.
pub const REST: &str = "*";

/// The service that vectors of a declared model are counted under.
const CUSTOM: &str = "encoder";

/// The models of a stack and the routes to them.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// In the order in which a router has their routes.
    pub models: Vec<ModelSpec>,
    /// The name of a model, by language: `en`, `ja`, `mixed`, another ISO 639 code, or [`REST`].
    pub routes: BTreeMap<String, String>,
}

/// A model.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelSpec {
    /// Its name, which is also that of its route.
    pub name: String,
    /// The name under which the gateway offers it; `None` for one that only stands in for another.
    pub offered_as: Option<String>,
    /// The languages that it reads; `None` for all.
    pub languages: Option<Vec<String>>,
    /// The model with the same vectors that takes its texts while it is unavailable.
    pub fallback: Option<String>,
    /// The model that takes its texts, perhaps with other vectors, in a command that ends soon.
    pub fallback_of_a_command: Option<String>,
    /// What computes its vectors.
    pub backend: BackendSpec,
}

/// What computes the vectors of a model.
#[derive(Debug, Clone, PartialEq)]
pub enum BackendSpec {
    /// This process.
    Encoder(EncoderSpec),
    /// Servers of Ollama.
    Ollama(Box<OllamaConfig>),
    /// Servers that speak OpenAI's API.
    OpenAi(Box<OpenAiConfig>),
}

/// A model in this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncoderSpec {
    /// Where its profile comes from.
    pub source: EncoderSource,
    /// The arithmetic.
    pub precision: Precision,
    /// How long it stays loaded without a text; `None` for ever.
    pub keep_alive: Option<Duration>,
}

/// Where the profile of a model comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EncoderSource {
    /// It is built in.
    Known(&'static Profile),
    /// The configuration declares it; a pull sealed it into its files.
    Custom(CustomModel),
}

impl Document {
    /// The model with a name.
    #[must_use]
    pub fn model(&self, name: &str) -> Option<&ModelSpec> {
        self.models.iter().find(|model| model.name == name)
    }

    /// The models in this process.
    pub fn encoders(&self) -> impl Iterator<Item = (&ModelSpec, &EncoderSpec)> {
        self.models.iter().filter_map(|model| match &model.backend {
            BackendSpec::Encoder(encoder) => Some((model, encoder)),
            _ => None,
        })
    }

    /// The routes by kind and language.
    #[must_use]
    pub fn policy(&self) -> Policy {
        let rest = self.routes.get(REST).map_or("", String::as_str);
        self.routes.iter().fold(Policy::everything_to(rest), |policy, (language, route)| match &**language {
            REST => policy,
            "en" => policy.with(Kind::En, &**route),
            "ja" => policy.with(Kind::Ja, &**route),
            "mixed" => policy.with(Kind::Mixed, &**route),
            language => policy.with_language(language, &**route),
        })
    }

    /// The names of the models.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        self.models.iter().map(|model| &*model.name).collect()
    }

    /// Only one of the models, with the one that stands in for it, for every language.
    pub(super) fn only(mut self, name: &str) -> Self {
        let fallback = self.model(name).and_then(|model| model.fallback.clone());
        self.models.retain(|model| model.name == name || Some(&model.name) == fallback.as_ref());
        self.routes = BTreeMap::from([(REST.to_owned(), name.to_owned())]);
        self
    }

    /// Whether every text goes to one model, for which another of its space may stand in.
    #[must_use]
    pub fn has_one_route(&self) -> bool {
        let mut routes = self.routes.values();
        let first = routes.next();
        routes.all(|route| Some(route) == first)
    }

    /// The only model, if it is one.
    #[must_use]
    pub fn only_model(&self) -> Option<&ModelSpec> {
        match &*self.models {
            [model] => Some(model),
            _ => None,
        }
    }
}

impl ModelSpec {
    /// The languages that it reads, for a router.
    #[must_use]
    pub fn reads(&self) -> Reads {
        match &self.languages {
            None => Reads::Everything,
            Some(languages) => Reads::only(languages.iter().cloned().map(Cow::Owned)),
        }
    }

    /// The service that its vectors are counted under, and the model's name there.
    #[must_use]
    pub fn label(&self) -> (&str, &str) {
        match &self.backend {
            BackendSpec::Encoder(EncoderSpec { source: EncoderSource::Known(profile), .. }) => {
                (profile.family, profile.name)
            }
            BackendSpec::Encoder(EncoderSpec { source: EncoderSource::Custom(model), .. }) => {
                (CUSTOM, &model.name)
            }
            BackendSpec::Ollama(config) => ("ollama", &config.model),
            BackendSpec::OpenAi(config) => ("openai", config.model.trim()),
        }
    }

    /// The placeholder of its description until its server describes it.
    #[must_use]
    pub fn described(&self) -> ModelInfo {
        let (service, name) = self.label();
        let space = Space::builder(name, 1).build();
        ModelInfo::builder(service.to_owned(), name, Variant::new(space, [("met", "no")])).build()
    }

    /// Whether a server has it, which may be unavailable.
    #[must_use]
    pub fn is_remote(&self) -> bool {
        !matches!(self.backend, BackendSpec::Encoder(_))
    }
}

impl EncoderSpec {
    /// The profile, which for a model that isn't built in lies in the data folder.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::ModelNotFound`](embed_core::ErrorKind::ModelNotFound) if it isn't there.
    pub fn profile(&self, home: &DataHome) -> Result<&'static Profile, embed_core::Error> {
        match &self.source {
            EncoderSource::Known(profile) => Ok(profile),
            EncoderSource::Custom(model) => model.profile(home, self.precision),
        }
    }
}
