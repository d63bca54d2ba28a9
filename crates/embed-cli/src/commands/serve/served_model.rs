//! A model of the served stack, and what the gateway shows of it.

use std::collections::HashSet;
use std::sync::{Arc, OnceLock};

use embed_core::{Embedder, ModelInfo, Variant};
use embed_encoder::Encoder;
use embed_gateway::{ModelDetails, ModelEntry, ModelSource};
use embed_ollama::OllamaEmbedder;
use embed_router::Router;

use super::model_details;
use crate::settings::{BackendSpec, EncoderSource, EncoderSpec, ModelSpec};
use crate::stack::Backend;

/// The name that lets the language choose.
const AUTOMATIC: &str = "auto";

/// A model of the served stack.
pub(super) struct ServedModel {
    pub(super) spec: ModelSpec,
    place: Place,
}

enum Place {
    /// In this process.
    Here(Arc<Encoder>),
    /// At servers, which may be there later.
    Late(LateModel),
}

/// A model that may connect later: empty until it has.
#[derive(Debug, Clone, Default)]
pub(super) struct LateModel(Arc<OnceLock<(Backend, ModelDetails)>>);

impl LateModel {
    /// Keeps the back end that has connected.
    pub(super) fn set(&self, backend: Backend, details: ModelDetails) {
        self.0.get_or_init(|| (backend, details));
    }

    fn is_there(&self) -> bool {
        self.0.get().is_some()
    }
}

impl ModelSource for LateModel {
    fn look(&self) -> Option<(ModelInfo, ModelDetails)> {
        self.0.get().map(|(backend, details)| (backend.model().clone(), details.clone()))
    }
}

impl ServedModel {
    /// A model in this process.
    pub(super) fn here(spec: ModelSpec, encoder: Arc<Encoder>) -> Self {
        Self { spec, place: Place::Here(encoder) }
    }

    /// A model of servers.
    pub(super) fn late(spec: ModelSpec, late: LateModel) -> Self {
        Self { spec, place: Place::Late(late) }
    }

    /// The model, if it is in this process.
    pub(super) fn encoder(&self) -> Option<&Arc<Encoder>> {
        match &self.place {
            Place::Here(encoder) => Some(encoder),
            Place::Late(_) => None,
        }
    }

    /// The client of Ollama, if it has connected.
    pub(super) fn ollama(&self) -> Option<&OllamaEmbedder> {
        match self.late_model()?.0.get() {
            Some((Backend::Ollama(ollama), _)) => Some(ollama),
            _ => None,
        }
    }

    /// The place of the client of a server.
    fn late_model(&self) -> Option<&LateModel> {
        match &self.place {
            Place::Here(_) => None,
            Place::Late(late) => Some(late),
        }
    }

    /// The variant, once it is known.
    pub(super) fn variant(&self) -> Option<Variant> {
        match &self.place {
            Place::Here(encoder) => Some(encoder.model().variant().clone()),
            Place::Late(late) => late.look().map(|(model, _)| model.variant().clone()),
        }
    }

    /// What callers are offered; `None` for a model that only stands in for another.
    fn entry(&self) -> Option<ModelEntry> {
        let name = self.spec.offered_as.as_deref()?;
        let entry = |model: ModelInfo, details| {
            ModelEntry::new(name, model)
                .with_route(self.spec.name.as_str())
                .with_details(details)
                .with_aliases(self.aliases())
        };
        Some(match &self.place {
            Place::Here(encoder) => {
                let details = model_details::of_encoder(encoder);
                entry(encoder.model().clone(), details)
                    .with_tokenizer(Arc::new(model_details::EncoderTokens(Arc::clone(encoder))))
            }
            Place::Late(late) => match late.look() {
                Some((model, details)) => entry(model, details),
                None => {
                    entry(self.spec.described(), ModelDetails::default()).with_source(Arc::new(late.clone()))
                }
            },
        })
    }

    /// Further names of the model: that of its route, and those that it has elsewhere.
    fn aliases(&self) -> Vec<&str> {
        let mut aliases = vec![&*self.spec.name];
        match &self.spec.backend {
            BackendSpec::Encoder(EncoderSpec { source: EncoderSource::Known(profile), .. }) => {
                aliases.extend([profile.name, profile.space_name, profile.repository]);
            }
            BackendSpec::Encoder(_) => {}
            BackendSpec::Ollama(config) => {
                aliases.push(&config.model);
                aliases.extend(embed_ollama::hub_id(&config.model));
            }
            BackendSpec::OpenAi(config) => aliases.push(config.model.trim()),
        }
        aliases
    }
}

/// The model under the name that leaves the choice to the router, once all models are there.
#[derive(Debug)]
struct Automatic {
    router: Arc<Router>,
    late: Vec<LateModel>,
}

impl ModelSource for Automatic {
    fn look(&self) -> Option<(ModelInfo, ModelDetails)> {
        let all = self.late.iter().all(LateModel::is_there);
        all.then(|| (self.router.model().clone(), ModelDetails::default()))
    }
}

/// What callers are offered: each model under its names, and before them, if there are several, the name that leaves the
/// choice to the router. A further name that two models have is that of the first.
pub(super) fn entries(models: &[&ServedModel], router: &Arc<Router>) -> Vec<ModelEntry> {
    let mut entries: Vec<_> = models.iter().filter_map(|model| model.entry()).collect();
    let plain = |name: &str| name.to_lowercase().trim_end_matches(":latest").to_owned();
    let mut known: HashSet<_> = entries.iter().map(|entry| plain(&entry.name)).collect();
    known.insert(AUTOMATIC.to_owned());
    for entry in &mut entries {
        entry.aliases.retain(|alias| !alias.is_empty() && known.insert(plain(alias)));
    }
    if entries.len() > 1 {
        let late: Vec<_> = models.iter().filter_map(|model| model.late_model().cloned()).collect();
        let is_there = late.iter().all(LateModel::is_there);
        let automatic = ModelEntry::new(AUTOMATIC, router.model().clone()).with_mixed_spaces(true);
        let source = Automatic { router: Arc::clone(router), late };
        entries.insert(0, if is_there { automatic } else { automatic.with_source(Arc::new(source)) });
    }
    entries
}
