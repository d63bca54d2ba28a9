//! In how many spaces a text is wanted.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind};

/// Which vectors of a text a plan has, where a router serves several spaces.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Coverage {
    /// The one that its route gives: the cheapest. **Queries in a language that this model doesn't read can't find the
    /// document**: an English document that is stored in the English model's space alone is lost for a Japanese query.
    Route,
    /// Also one for every other space in use whose model reads the text, so that every query finds every document.
    #[default]
    Reachable,
}

impl Coverage {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Route, Self::Reachable];

    /// The coverage as one lower-case word.
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
