//! Reads `[[model]]` and `[routes]` of a file, and makes a document of them.

use std::collections::BTreeMap;
use std::time::Duration;

use embed_core::{Error, ErrorKind, Normalisation, Pooling};
use embed_encoder::{CustomModel, CustomSource, Profile};
use embed_ollama::{library_name, server_url};
use embed_openai::{OpenAiConfig, Prompts, Secret};
use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::tables::{
    BackendName, BackendTable, COMMON, CommonTable, EncoderTable, OllamaTable, OpenAiTable, PoolingName,
};
use super::{BackendSpec, Document, EncoderSource, EncoderSpec, ModelSpec};
use crate::settings::draft::Draft;
use crate::settings::origin::Origin;
use crate::settings::values::Settings;

/// The key of the models.
const MODEL: &str = "model";
/// The key of the routes.
const ROUTES: &str = "routes";

/// What a file declares, with the places where it does.
#[derive(Debug, Clone, Default)]
pub(in crate::settings) struct Declared {
    models: Vec<(Origin, CommonTable, BackendTable)>,
    routes: Vec<(Origin, String, String)>,
}

/// Whether an entry at the top level of a file is a part of a document.
pub(in crate::settings) fn is_part(key: &str) -> bool {
    key == MODEL || key == ROUTES
}

/// Reads such an entry. `origin` gives the place of a byte of the file.
pub(in crate::settings) fn read(
    key: &str,
    value: &Spanned<DeValue<'_>>,
    origin: &dyn Fn(usize) -> Origin,
    draft: &mut Draft,
) {
    let at = origin(value.span().start);
    match (key, value.get_ref()) {
        (MODEL, DeValue::Array(tables)) => tables.iter().for_each(|table| model(table, origin, draft)),
        (MODEL, _) => draft.problem(&at, MODEL, "is a list of tables, each written [[model]]"),
        (_, DeValue::Table(table)) => {
            for (language, route) in table {
                let at = origin(language.span().start);
                let language = language.get_ref().to_string();
                match route.get_ref().as_str() {
                    Some(route) => draft.settings.declared.routes.push((at, language, route.to_owned())),
                    None => {
                        draft.problem(&at, &format!("{ROUTES}.{language}"), "must be the name of a model")
                    }
                }
            }
        }
        _ => draft.problem(&at, ROUTES, "is a section, written [routes]"),
    }
}

fn model(table: &Spanned<DeValue<'_>>, origin: &dyn Fn(usize) -> Origin, draft: &mut Draft) {
    let at = origin(table.span().start);
    let Some(entries) = table.get_ref().as_table() else {
        return draft.problem(&at, MODEL, "is a list of tables, each written [[model]]");
    };
    let part = |is_common: bool| {
        let entries = entries.iter().filter(|(name, _)| COMMON.contains(&&**name.get_ref()) == is_common);
        let part: DeTable<'_> = entries.map(|(name, value)| (name.clone(), value.clone())).collect();
        Spanned::new(table.span(), DeValue::Table(part))
    };
    let common = parse::<CommonTable>(part(true));
    let backend = common.as_ref().map_or(Ok(None), |common| {
        match common.backend {
            BackendName::Encoder => parse(part(false)).map(BackendTable::Encoder),
            BackendName::Ollama => parse(part(false)).map(BackendTable::Ollama),
            BackendName::OpenAi => parse(part(false)).map(BackendTable::OpenAi),
        }
        .map(Some)
    });
    let mut wrong = |error: &toml::de::Error| {
        let at = error.span().map_or_else(|| at.clone(), |span| origin(span.start));
        draft.problem(&at, MODEL, error.message());
    };
    match (common, backend) {
        (Err(error), _) | (_, Err(error)) => wrong(&error),
        (Ok(common), Ok(Some(backend))) => draft.settings.declared.models.push((at, common, backend)),
        (Ok(_), Ok(None)) => {}
    }
}

fn parse<'de, T: Deserialize<'de>>(table: Spanned<DeValue<'de>>) -> Result<T, toml::de::Error> {
    T::deserialize(ValueDeserializer::from(table))
}

impl Declared {
    /// Whether the file declares no model.
    pub(in crate::settings) fn is_empty(&self) -> bool {
        self.models.is_empty() && self.routes.is_empty()
    }

    /// The names of the models.
    pub(in crate::settings) fn names(&self) -> impl Iterator<Item = &str> + Clone {
        self.models.iter().map(|(_, common, _)| &*common.name)
    }

    /// Where it begins.
    pub(in crate::settings) fn origin(&self) -> Option<&Origin> {
        let models = self.models.iter().map(|(at, ..)| at);
        models.chain(self.routes.iter().map(|(at, ..)| at)).next()
    }

    /// Where a model is declared.
    pub(in crate::settings) fn origin_of(&self, name: &str) -> Option<&Origin> {
        self.models.iter().find(|(_, common, _)| common.name == name).map(|(at, ..)| at)
    }

    /// Where the route of a language is declared.
    pub(in crate::settings) fn origin_of_route(&self, language: &str) -> Option<&Origin> {
        self.routes.iter().find(|(_, of, _)| of == language).map(|(at, ..)| at)
    }

    /// The document. With one model, everything goes to it unless routes say otherwise.
    ///
    /// # Errors
    ///
    /// What is wrong with a model, and where it is declared.
    pub(in crate::settings) fn document(&self, settings: &Settings) -> Result<Document, (Origin, Error)> {
        let mut models = Vec::with_capacity(self.models.len());
        for (at, common, table) in &self.models {
            let (backend, reads) = backend(common, table, settings).map_err(|error| (at.clone(), error))?;
            models.push(ModelSpec {
                name: common.name.clone(),
                offered_as: Some(common.name.clone()),
                languages: common.languages.clone().or(reads),
                fallback: common.fallback.clone(),
                fallback_of_a_command: None,
                backend,
            });
        }
        // A model that only stands in for another has the other's name.
        let stands_in = |name: &str| models.iter().any(|model| model.fallback.as_deref() == Some(name));
        let is_routed = |name: &str| self.routes.iter().any(|(.., route)| route == name);
        let unoffered: Vec<_> =
            models.iter().map(|model| stands_in(&model.name) && !is_routed(&model.name)).collect();
        for (model, unoffered) in models.iter_mut().zip(unoffered) {
            if unoffered {
                model.offered_as = None;
            }
        }
        let mut routes: BTreeMap<_, _> =
            self.routes.iter().map(|(_, language, route)| (language.clone(), route.clone())).collect();
        if let ([model], true) = (&*models, routes.is_empty()) {
            routes.insert(super::REST.to_owned(), model.name.clone());
        }
        Ok(Document { models, routes })
    }
}

/// The back end that a table describes, and the languages that its model is known to read.
fn backend(
    common: &CommonTable,
    table: &BackendTable,
    settings: &Settings,
) -> Result<(BackendSpec, Option<Vec<String>>), Error> {
    match table {
        BackendTable::Encoder(table) => {
            let encoder = encoder(&common.name, table, settings)?;
            let is_english =
                matches!(&encoder.source, EncoderSource::Known(profile) if !profile.multilingual);
            Ok((BackendSpec::Encoder(encoder), is_english.then(english)))
        }
        BackendTable::Ollama(table) => {
            let config = ollama(&common.name, table, settings)?;
            let hub = embed_ollama::hub_id(&config.model).unwrap_or(&config.model);
            let is_english = Profile::by_name(hub).is_ok_and(|profile| !profile.multilingual);
            Ok((BackendSpec::Ollama(Box::new(config)), is_english.then(english)))
        }
        BackendTable::OpenAi(table) => {
            Ok((BackendSpec::OpenAi(Box::new(openai(&common.name, table)?)), None))
        }
    }
}

fn english() -> Vec<String> {
    vec!["en".to_owned()]
}

fn encoder(name: &str, table: &EncoderTable, settings: &Settings) -> Result<EncoderSpec, Error> {
    let precision = match &table.precision {
        Some(precision) => precision.parse().map_err(|error| of_key("precision", &error))?,
        None => settings.e5.precision,
    };
    let model = table.model.as_deref().unwrap_or(name);
    let source = match (&table.folder, Profile::by_name(model)) {
        (None, Ok(profile)) if !table.is_custom() => EncoderSource::Known(profile),
        (None, Ok(_)) => {
            let what = format!(
                "{model} is built in, and what is known of it can't be changed; leave out {}, or name a folder",
                table.custom_keys().join(", ")
            );
            return Err(Error::new(ErrorKind::Config, what));
        }
        _ => EncoderSource::Custom(custom(name, model, table)?),
    };
    let keep_alive = table.keep_alive.map(|seconds| duration("keep_alive", seconds)).transpose()?;
    Ok(EncoderSpec { source, precision, keep_alive })
}

impl EncoderTable {
    /// Whether it says something of the model itself.
    fn is_custom(&self) -> bool {
        !self.custom_keys().is_empty()
    }

    /// The keys that are there and say something of the model itself.
    fn custom_keys(&self) -> Vec<&'static str> {
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

fn custom(name: &str, model: &str, table: &EncoderTable) -> Result<CustomModel, Error> {
    let source = match (&table.folder, &table.revision) {
        (Some(folder), None) if table.model.is_none() => CustomSource::Folder(folder.clone()),
        (Some(_), _) => {
            let what = "a model has either a folder, or a repository on the hub (model) with its revision";
            return Err(Error::new(ErrorKind::Config, what));
        }
        (None, Some(revision)) => {
            CustomSource::Hub { repository: model.to_owned(), revision: revision.clone() }
        }
        (None, None) => {
            let known: Vec<_> = Profile::all().iter().map(|profile| profile.name).collect();
            let what = format!(
                "{model} isn't built in; name a repository of the hub (model = \"owner/name\") with the commit that \
                 `revision` is, or a folder; built in are {}",
                known.join(", ")
            );
            return Err(Error::new(ErrorKind::Config, what));
        }
    };
    let mut custom = CustomModel::new(name, source);
    custom.pooling = table.pooling.map(|pooling| match pooling {
        PoolingName::Mean => Pooling::Mean,
        PoolingName::Cls => Pooling::Cls,
    });
    custom.normalisation = table.normalise.map(|on| if on { Normalisation::L2 } else { Normalisation::None });
    custom.max_tokens = table.max_tokens;
    custom.space = table.space.clone();
    if table.query_prompt.is_some() || table.document_prompt.is_some() {
        let prompt = |prompt: &Option<String>| prompt.clone().unwrap_or_default();
        custom.prompts = Some((prompt(&table.query_prompt), prompt(&table.document_prompt)));
    }
    custom.check()?;
    Ok(custom)
}

fn ollama(name: &str, table: &OllamaTable, settings: &Settings) -> Result<embed_ollama::OllamaConfig, Error> {
    let mut config = settings.ollama.clone();
    let model = table.model.as_deref().unwrap_or(name);
    config.model = library_name(model).unwrap_or_else(|| model.to_owned());
    if let Some(urls) = &table.url {
        let urls = urls.as_slice().iter().map(|url| server_url(url));
        config.servers = urls.collect::<Result<_, _>>().map_err(|error| of_key("url", &error))?;
    }
    if let Some(size) = table.pool_size {
        config.pool_size = size;
    }
    if let Some(seconds) = table.timeout {
        config.request_timeout = duration("timeout", seconds)?;
        config.load_timeout = config.load_timeout.max(config.request_timeout);
    }
    Ok(config)
}

fn openai(name: &str, table: &OpenAiTable) -> Result<OpenAiConfig, Error> {
    let model = table.model.as_deref().unwrap_or(name);
    let mut config = OpenAiConfig::new(model, "").with_servers(table.url.as_slice());
    config.key_file = table.key_file.clone();
    if let Some(variable) = &table.key_variable {
        let key = std::env::var(variable).ok().filter(|key| !key.trim().is_empty()).ok_or_else(|| {
            let what = format!("key_variable: {variable} isn't set; set it to the key, or name a key_file");
            Error::new(ErrorKind::Config, what)
        })?;
        config.key = Some(Secret::new(key.trim()));
    }
    config.space.clone_from(&table.space);
    config.dimension = table.dimension;
    config.dimensions = table.dimensions;
    config.max_tokens = table.max_tokens;
    config.normalise = table.normalise.unwrap_or(config.normalise);
    config.pool_size = table.pool_size.unwrap_or(config.pool_size);
    config.max_batch_rows = table.max_batch_rows.unwrap_or(config.max_batch_rows);
    let prompt = |prompt: &Option<String>| prompt.clone().unwrap_or_default();
    config.prompts = Prompts::new(prompt(&table.query_prompt), prompt(&table.document_prompt));
    if let Some(seconds) = table.timeout {
        config.request_timeout = duration("timeout", seconds)?;
    }
    Ok(config)
}

fn duration(key: &str, seconds: f64) -> Result<Duration, Error> {
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|time| !time.is_zero())
        .ok_or_else(|| Error::new(ErrorKind::Config, format!("{key}: must be a number of seconds above 0")))
}

fn of_key(key: &str, error: &Error) -> Error {
    Error::new(error.kind(), format!("{key}: {error}"))
}
