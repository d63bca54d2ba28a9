//! Reads `[[model]]` and `[routes]` of a file.

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::draft::Draft;
use super::origin::Origin;
use super::tables::{BackendName, BackendTable, COMMON, CommonTable};

/// The key of the models.
const MODEL: &str = "model";
/// The key of the routes.
const ROUTES: &str = "routes";

/// Whether an entry at the top level of a file is a part of a document.
pub(super) fn is_part(key: &str) -> bool {
    key == MODEL || key == ROUTES
}

/// Reads such an entry. `origin` gives the place of a byte of the file.
pub(super) fn read(
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
