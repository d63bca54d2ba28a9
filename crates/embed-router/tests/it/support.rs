//! Shared by the tests of routing: a detector that only inspects letters, and helpers for requests.

use std::collections::HashMap;
use std::sync::Arc;

use embed_core::{EmbedRequest, EmbedResponse, Embedder, Error, ErrorKind, Layer, Role, place};
use embed_router::{Detection, Detector, Guarded, Kind, Policy, Reads, Route, Router, RouterConfig};
use embed_testkit::Scripted;

/// Kana is Japanese, ASCII is English, both is mixed, anything else is German.
#[derive(Debug)]
pub(crate) struct Letters;

impl Detector for Letters {
    fn detect(&self, text: &str) -> Detection {
        let is_kana = |c: char| ('\u{3040}'..='\u{30ff}').contains(&c);
        let (kana, latin) = (text.chars().any(is_kana), text.chars().any(|c| c.is_ascii_alphabetic()));
        match (kana, latin) {
            (true, true) => Detection::new(Kind::Mixed, "en", 0.5, "both"),
            (true, false) => Detection::new(Kind::Ja, "ja", 1.0, "kana"),
            (false, true) if text.is_ascii() => Detection::new(Kind::En, "en", 1.0, "ascii"),
            _ => Detection::new(Kind::Other, "de", 0.5, "rest"),
        }
    }
}

/// A layer at the place of a cache, created by a function.
#[derive(Clone)]
pub(crate) struct CacheBy<F>(F);

pub(crate) fn cache_by<C, F: FnOnce(Guarded<Arc<dyn Embedder>>) -> C>(make: F) -> CacheBy<F> {
    CacheBy(make)
}

impl<E, C: Embedder, F: FnOnce(E) -> C> Layer<E> for CacheBy<F> {
    type Embedder = C;
    type Place = place::Cache;

    fn layer(self, inner: E) -> C {
        (self.0)(inner)
    }
}

/// Doubles by the names of their routes, and a router over them.
pub(crate) struct Rig {
    pub(crate) doubles: HashMap<&'static str, Scripted>,
    pub(crate) router: Arc<Router>,
}

impl Rig {
    /// Routes as (name, space); models of spaces named `minilm…` only support English.
    pub(crate) fn new(routes: &[(&'static str, &str)], config: RouterConfig) -> Self {
        let doubles = routes.iter().map(|(name, space)| (*name, Scripted::new(space, 8))).collect();
        Self::over(routes, doubles, config)
    }

    pub(crate) fn over(
        routes: &[(&'static str, &str)],
        doubles: HashMap<&'static str, Scripted>,
        config: RouterConfig,
    ) -> Self {
        let route = |(name, space): &(&'static str, &str)| {
            let reads = if space.starts_with("minilm") { Reads::only(["en"]) } else { Reads::Everything };
            Route::builder(*name).backend(doubles[name].clone()).reads(reads).build()
        };
        let router = Router::new(routes.iter().map(route), Arc::new(Letters), config).unwrap();
        Self { router: Arc::new(router), doubles }
    }

    /// English to `ollama` in one space, everything else to `e5` in another.
    pub(crate) fn hybrid(config: RouterConfig) -> Self {
        Self::new(&[("ollama", "minilm"), ("e5", "e5")], config)
    }

    pub(crate) fn double(&self, name: &str) -> &Scripted {
        &self.doubles[name]
    }
}

/// Everything to one route.
pub(crate) fn all_to(route: &str) -> RouterConfig {
    RouterConfig::default().with_policy(Policy::everything_to(route))
}

pub(crate) fn documents<T: AsRef<str>>(texts: &[T]) -> EmbedRequest {
    EmbedRequest::new(texts.iter().map(AsRef::as_ref), Role::Document)
}

pub(crate) fn down() -> Error {
    Error::new(ErrorKind::Unavailable, "the server is gone").temporary()
}

/// The route of each row, or the kind of its error.
pub(crate) fn outcomes(response: &EmbedResponse) -> Vec<String> {
    let outcome = |row: Result<embed_core::EmbeddingRef<'_>, &Error>| match row {
        Ok(row) => row.info().route.as_deref().unwrap_or("no route").to_owned(),
        Err(error) => error.kind().to_string(),
    };
    response.rows().map(outcome).collect()
}

pub(crate) fn field(error: &Error, name: &str) -> Option<String> {
    error.context().find(|(is, _)| *is == name).map(|(_, value)| value.to_owned())
}
