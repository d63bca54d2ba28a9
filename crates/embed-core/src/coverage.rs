//! In which spaces a text is embedded.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind};

/// Which vectors a plan has for a text, where a router serves several spaces.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Coverage {
    /// Only the vector of its route: the cheapest. **Queries in a language that this model doesn't support can't find
    /// the document**: a Japanese query misses an English document that is only in the English model's space.
    Route,
    /// Also one for every other space in use whose model supports the text's language, so that every query can find
    /// every document.
    #[default]
    Reachable,
}

impl Coverage {
    /// All coverages.
    pub const ALL: [Self; 2] = [Self::Route, Self::Reachable];

    /// The coverage in lower case.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Route => "route",
            Self::Reachable => "reachable",
        }
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Coverage {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        Self::ALL
            .into_iter()
            .find(|coverage| coverage.as_str() == name)
            .ok_or_else(|| Error::new(ErrorKind::InvalidInput, "a coverage is one of route, reachable"))
    }
}
