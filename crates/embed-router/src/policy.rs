//! Which kind of text goes to which route.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;

use embed_core::{Error, ErrorKind};

use crate::Kind;

/// A table from the kind of a text, and its language, to the name of a route.
///
/// Its text form is `hybrid`, or the name of the route for everything (`ollama`, `e5`):
///
/// ```
/// use embed_router::{Kind, Policy};
///
/// let policy: Policy = "hybrid".parse()?;
/// assert_eq!(policy.route(Kind::En), "ollama");
/// assert_eq!(policy.route(Kind::Mixed), "e5");
/// assert_eq!("e5".parse::<Policy>()?.route(Kind::En), "e5");
/// # Ok::<(), embed_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    routes: [Arc<str>; KINDS.len()],
    /// Of texts of [`Kind::Other`], by their language.
    languages: BTreeMap<String, Arc<str>>,
}

/// The route for English in [`Policy::default`].
pub const ENGLISH_ROUTE: &str = "ollama";

/// The route for everything else in [`Policy::default`].
pub const MULTILINGUAL_ROUTE: &str = "e5";

impl Policy {
    /// Sends everything to one route, even text that its model doesn't support. Such texts are counted
    /// ([`RouterStats::unread`](crate::RouterStats::unread)).
    #[must_use]
    pub fn everything_to(route: impl Into<Arc<str>>) -> Self {
        let route = route.into();
        Self { routes: KINDS.map(|_| Arc::clone(&route)), languages: BTreeMap::new() }
    }

    /// Sends English to one route and everything else to another.
    #[must_use]
    pub fn hybrid(english: impl Into<Arc<str>>, others: impl Into<Arc<str>>) -> Self {
        Self::everything_to(others).with(Kind::En, english)
    }

    /// Sets the route of one kind.
    #[must_use]
    pub fn with(mut self, kind: Kind, route: impl Into<Arc<str>>) -> Self {
        self.routes[kind as usize] = route.into();
        self
    }

    /// Sets the route of a language other than English and Japanese, which are kinds of their own: an ISO 639 code as
    /// [`Detection::language`](crate::Detection::language) has it.
    #[must_use]
    pub fn with_language(mut self, language: impl Into<String>, route: impl Into<Arc<str>>) -> Self {
        self.languages.insert(language.into(), route.into());
        self
    }

    /// The route of a kind; for [`Kind::Other`], that of languages without a route of their own.
    #[must_use]
    pub fn route(&self, kind: Kind) -> &str {
        &self.routes[kind as usize]
    }

    /// The languages that have a route of their own, with it.
    pub fn languages(&self) -> impl Iterator<Item = (&str, &str)> {
        self.languages.iter().map(|(language, route)| (&**language, &**route))
    }
}

/// All kinds, in the order of their declaration.
pub(crate) const KINDS: [Kind; 4] = [Kind::En, Kind::Ja, Kind::Mixed, Kind::Other];

/// English to [`ENGLISH_ROUTE`], everything else to [`MULTILINGUAL_ROUTE`].
impl Default for Policy {
    fn default() -> Self {
        Self::hybrid(ENGLISH_ROUTE, MULTILINGUAL_ROUTE)
    }
}

impl FromStr for Policy {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self, Error> {
        match word.trim() {
            "" => Err(Error::new(ErrorKind::Config, "a policy is `hybrid` or the name of a route")),
            "hybrid" => Ok(Self::default()),
            route => Ok(Self::everything_to(route)),
        }
    }
}
