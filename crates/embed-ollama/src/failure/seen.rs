//! What a request showed when it failed.

use std::time::Duration;

use crate::wire::ErrorBody;

/// What was seen.
#[derive(Debug)]
pub(crate) enum Seen {
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
    /// An answer that says what is wrong.
    Answer {
        status: u16,
        body: ErrorBody,
        /// Whether the body is JSON: a route or a proxy that isn't Ollama's API answers in text.
        json: bool,
        /// How long the server asked to be left alone.
        after: Option<Duration>,
    },
    /// An answer that looks fine, of rows that aren't.
    Rows(RowFault),
}

/// Why a row isn't a vector of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum RowFault {
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
    pub(crate) fn describe(self) -> &'static str {
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
