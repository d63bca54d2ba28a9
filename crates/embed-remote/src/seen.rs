//! What a request showed when it failed.

use std::fmt;
use std::time::Duration;

use reqwest::header::HeaderMap;

/// What was seen.
#[derive(Debug)]
#[non_exhaustive]
pub enum Seen {
    /// No connection: refused, unreachable, too slow.
    Connect,
    /// The host's name has no address.
    Name,
    /// The other side speaks no TLS, or not with us.
    Tls,
    /// The connection ended before the answer did.
    Broken,
    /// No answer came in time.
    Silence,
    /// An answer that is longer than it can be.
    TooMuch,
    /// Nothing: it failed too often and isn't asked for now.
    LeftOut,
    /// An answer that says what is wrong, or that can't be read.
    Answer {
        /// Its status.
        status: u16,
        /// Its headers.
        headers: Box<HeaderMap>,
        /// Its body; empty where it was too long to be an error's.
        body: Body,
        /// How long the server asked to be left alone by `Retry-After`.
        after: Option<Duration>,
    },
    /// An answer that looks fine, of rows that aren't.
    Rows(RowFault),
}

/// The body of an answer, which may quote a text and so is never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Body(pub Vec<u8>);

/// What was seen, and the cause underneath, if there is one.
#[derive(Debug)]
pub struct Trouble {
    /// What was seen.
    pub seen: Seen,
    /// The cause, without the address.
    pub source: Option<reqwest::Error>,
}

/// Why a row isn't a vector of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RowFault {
    /// Another number of rows than of texts.
    Count,
    /// No rows for texts that were sent.
    None,
    /// `null` instead of a row.
    Null,
    /// Another width than the model's.
    Width,
    /// A number that isn't finite.
    NotFinite,
    /// All numbers are zero.
    Zero,
    /// A norm far from 1.
    Norm,
}

impl RowFault {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Count, Self::None, Self::Null, Self::Width, Self::NotFinite, Self::Zero, Self::Norm];

    /// What there is instead of a row, in words.
    #[must_use]
    pub fn describe(self) -> &'static str {
        match self {
            Self::Count => "another number of rows",
            Self::None => "no rows",
            Self::Null => "a row that is null or empty",
            Self::Width => "a row of another width",
            Self::NotFinite => "a number that isn't finite",
            Self::Zero => "a row of zeros",
            Self::Norm => "a row whose norm isn't 1",
        }
    }
}

impl From<Seen> for Trouble {
    fn from(seen: Seen) -> Self {
        Self { seen, source: None }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Body({} bytes)", self.0.len())
    }
}
