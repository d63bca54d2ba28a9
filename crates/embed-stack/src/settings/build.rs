//! Makes a document of what a file declares.

use std::collections::BTreeMap;
use std::time::Duration;

use embed_core::{Error, ErrorKind, Normalisation, Pooling};
use embed_encoder::{CustomModel, CustomSource, Profile};
use embed_ollama::{library_name, server_url};
use embed_openai::{OpenAiConfig, Prompts, Secret};

use super::declared::Declared;
use super::document::{BackendSpec, Document, EncoderSource, EncoderSpec, ModelSpec, REST};
use super::origin::Origin;
use super::tables::{BackendTable, CommonTable, EncoderTable, OllamaTable, OpenAiTable, PoolingName};
use super::values::Settings;

/// The document. With one model, everything goes to it unless routes say otherwise.
///
/// # Errors
///
/// What is wrong with a model, and where it is declared.
pub(super) fn declared_document(
    declared: &Declared,
    settings: &Settings,
) -> Result<Document, (Origin, Error)> {
    let mut models = Vec::with_capacity(declared.models.len());
    for (at, common, table) in &declared.models {
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
    let is_routed = |name: &str| declared.routes.iter().any(|(.., route)| route == name);
    let unoffered: Vec<_> =
        models.iter().map(|model| stands_in(&model.name) && !is_routed(&model.name)).collect();
    for (model, unoffered) in models.iter_mut().zip(unoffered) {
        if unoffered {
            model.offered_as = None;
        }
    }
    let mut routes: BTreeMap<_, _> =
        declared.routes.iter().map(|(_, language, route)| (language.clone(), route.clone())).collect();
    if let ([model], true) = (&*models, routes.is_empty()) {
        routes.insert(REST.to_owned(), model.name.clone());
    }
    Ok(Document { models, routes })
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
