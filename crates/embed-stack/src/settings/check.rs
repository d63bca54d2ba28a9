//! What makes no sense in a document.

use std::collections::BTreeSet;

use super::declared::Declared;
use super::document::{Document, REST};
use super::origin::Origin;

/// Names that mean something else to callers.
const RESERVED: [&str; 2] = ["auto", REST];

/// Reports what is wrong with a document that a file declares.
pub(super) fn check(document: &Document, declared: &Declared, report: &mut dyn FnMut(&Origin, &str, String)) {
    let mut seen = BTreeSet::new();
    let at = |name: &str| declared.origin_of(name).cloned().unwrap_or(Origin::Default);
    for model in &document.models {
        let name = &*model.name;
        let mut wrong = |what: String| report(&at(name), "model.name", what);
        if name.is_empty()
            || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte))
        {
            wrong("must be a name of letters, digits, and the signs - _ . :".to_owned());
        } else if RESERVED.contains(&name) {
            wrong(format!("{name} leaves the choice to the language; give the model another name"));
        } else if !seen.insert(name) {
            wrong(format!("two models are called {name}; give one another name"));
        }
        if let Some(fallback) = &model.fallback
            && (fallback == name || document.model(fallback).is_none())
        {
            report(
                &at(name),
                "model.fallback",
                format!("must be the name of another model, and {fallback} is none"),
            );
        }
        for language in model.languages.iter().flatten().filter(|language| !is_language(language)) {
            report(&at(name), "model.languages", not_a_language(language));
        }
    }
    let of_route = |language: &str| declared.origin_of_route(language).cloned().unwrap_or(Origin::Default);
    for (language, route) in &document.routes {
        let key = format!("routes.{language}");
        if language != REST && language != "mixed" && !is_language(language) {
            report(&of_route(language), &key, not_a_language(language));
        }
        if document.model(route).is_none() {
            report(&of_route(language), &key, format!("there is no [[model]] called {route}"));
        }
    }
    if !document.routes.contains_key(REST) {
        let at = declared.origin().cloned().unwrap_or(Origin::Default);
        let what = "say which model takes every language without a route: \"*\" = \"NAME\"";
        report(&at, "routes", what.to_owned());
    }
}

fn is_language(code: &str) -> bool {
    (2..=3).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_lowercase())
}

fn not_a_language(code: &str) -> String {
    format!("{code:?} must be a language as ISO 639 writes it, such as en or ja")
}
