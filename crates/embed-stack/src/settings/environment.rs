//! Environment variables: `TMWS_*`, and as a fallback `OLLAMA_HOST`, which belongs to Ollama.

use std::collections::BTreeMap;
use std::env;

use embed_ollama::ollama_host;

use super::choices::CachePlace;
use super::draft::{Draft, nearest};
use super::kind::switch;
use super::origin::{CONFIG, Origin};
use super::table::{self, TABLE};

/// The prefix of every variable of the table.
const PREFIX: &str = "TMWS_";

/// How variables begin whose settings are those of a server, which this build leaves to it.
#[cfg(not(feature = "gateway"))]
const OF_A_SERVER: &[&str] = &["TMWS_GATEWAY_", "TMWS_LOG", "TMWS_OTLP_"];
#[cfg(feature = "gateway")]
const OF_A_SERVER: &[&str] = &[];

/// The older switch of the cache, from before `TMWS_CACHE`.
const CACHE_SWITCH: &str = "TMWS_OLLAMA_CACHE_ENABLED";

/// The variable with which Ollama's programs find the server.
const OLLAMA_HOST: &str = "OLLAMA_HOST";

/// The variables that aren't empty, by name.
pub(super) type Variables = BTreeMap<String, String>;

/// Reads our variables, and trims their values. An empty one counts as not set.
pub(super) fn read(draft: &mut Draft) -> Variables {
    let ours = env::vars_os().filter_map(|(name, value)| {
        let name = name.to_string_lossy().into_owned();
        (name.starts_with(PREFIX) || name == OLLAMA_HOST).then_some((name, value))
    });
    let mut variables = Variables::new();
    // Sorted by name, since the environment has no order.
    for (name, value) in ours.collect::<BTreeMap<_, _>>() {
        match value.to_str().map(str::trim) {
            Some("") => {}
            Some(value) => {
                variables.insert(name, value.to_owned());
            }
            None => draft.problems.push(format!("{name}: the value is not valid Unicode; set it again")),
        }
    }
    variables
}

/// Applies the variables, and finds unknown ones.
pub(super) fn apply(variables: &Variables, draft: &mut Draft) {
    let is_of_a_server = |name: &str| OF_A_SERVER.iter().any(|start| name.starts_with(start));
    for name in variables.keys().filter(|name| name.starts_with(PREFIX) && !is_of_a_server(name)) {
        if !known().any(|known| known == name) {
            // The common prefix doesn't make any of them more likely.
            let rest = &name[PREFIX.len()..];
            let fix = match nearest(rest, rests()) {
                Some(rest) => format!("did you mean {PREFIX}{rest}?"),
                None if rests().any(|known| family(known) == family(rest)) => {
                    "`embed config show` lists them; unset it".to_owned()
                }
                // Other programs have variables with this prefix too (`TMWS_DATABASE_URL`).
                None => continue,
            };
            draft.problems.push(format!("{name}: there is no such setting; {fix}"));
        }
    }
    if let Some(value) = variables.get(CACHE_SWITCH) {
        cache_switch(value, draft);
    }
    for setting in TABLE {
        if let Some(value) = variables.get(setting.variable) {
            draft.set(setting, Origin::Variable(setting.variable), value);
        }
    }
}

/// The known variables without the common prefix.
fn rests() -> impl Iterator<Item = &'static str> {
    known().filter_map(|known| known.strip_prefix(PREFIX))
}

/// The topic of a variable: `OLLAMA`, `CACHE`.
fn family(rest: &str) -> &str {
    rest.split('_').next().unwrap_or(rest)
}

/// Falls back to `OLLAMA_HOST` if nothing else names a server.
pub(super) fn fall_back(variables: &Variables, draft: &mut Draft) {
    if let (Some(url), Some(host)) = (table::by_key("ollama.url"), variables.get(OLLAMA_HOST))
        && !draft.settings.names_ollama()
    {
        let origin = Origin::Variable(OLLAMA_HOST);
        match ollama_host(host) {
            Ok(host) => draft.set(url, origin, &host),
            Err(error) => draft.problem(&origin, url.key, error),
        }
    }
}

/// Applies the older switch, which turns the cache off, or on if it is off. Other settings say where it is.
fn cache_switch(value: &str, draft: &mut Draft) {
    let place = match switch(value) {
        Some(false) => "off",
        Some(true) if draft.settings.cache.place == CachePlace::Off => "auto",
        Some(true) => return,
        None => return draft.problems.push(format!("{CACHE_SWITCH}: must be true or false")),
    };
    if let Some(setting) = table::by_key("cache.place") {
        draft.set(setting, Origin::Variable(CACHE_SWITCH), place);
    }
}

/// Every known variable.
fn known() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|setting| setting.variable).chain([CONFIG, CACHE_SWITCH])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(names: &[&str]) -> Vec<String> {
        let variables = names.iter().map(|name| ((*name).to_owned(), "7".to_owned())).collect();
        let mut draft = Draft::default();
        apply(&variables, &mut draft);
        draft.problems
    }

    #[test]
    fn variables_of_a_server_are_left_to_a_build_with_it() {
        let of_a_server =
            ["TMWS_GATEWAY_LISTEN", "TMWS_GATEWAY_NEW", "TMWS_LOG_FORMAT", "TMWS_OTLP_ENDPOINT"];
        let found = problems(&of_a_server);
        assert_eq!(found.is_empty(), cfg!(not(feature = "gateway")), "{found:?}");
        // Of another program, and a mistake, in every build.
        assert!(problems(&["TMWS_DATABASE_URL"]).is_empty());
        assert_eq!(problems(&["TMWS_CACHE_TLL"]).len(), 1);
    }
}
