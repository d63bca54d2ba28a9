//! What went wrong, and what follows from it: one table, read from top to bottom.
//!
//! A status alone decides nothing: before 0.13.3 a caller's fault may be a 500, and from then on a crash
//! may be a 400. So a rule looks at the profile, the status and the text.

mod page;
mod table;

use std::time::Duration;

use embed_core::{Error, ErrorKind, Retry};

use crate::profile::Profile;
use crate::wire::ErrorBody;

pub use page::render as failures_page;
pub(crate) use table::RULES;

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

/// A row of the table.
#[derive(Debug)]
pub(crate) struct Rule {
    /// Its name, which an error has in its context.
    pub(crate) name: &'static str,
    /// The profiles that it is for, first and last.
    pub(crate) profiles: (Profile, Profile),
    pub(crate) on: On,
    pub(crate) kind: ErrorKind,
    pub(crate) again: Again,
    pub(crate) pause: Pause,
    pub(crate) blame: Blame,
    /// What is wrong and, where there is one, the fix; `{model}` stands for the model's name.
    pub(crate) message: &'static str,
}

/// What a rule matches.
#[derive(Debug, Clone, Copy)]
pub(crate) enum On {
    Connect,
    Name,
    Tls,
    Broken,
    Silence,
    TooMuch,
    LeftOut,
    /// A status of these (none: any) and a text.
    Answer(&'static [u16], Text),
    /// Any status from the first to the last.
    Statuses(u16, u16),
    Rows(&'static [RowFault]),
}

/// What a rule wants of the body.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Text {
    Any,
    /// Nothing, or `{"error":{}}`.
    HiddenOr(&'static [&'static str]),
    Empty,
    /// JSON of any form.
    Json,
    /// The whole text.
    Is(&'static str),
    /// One of these parts, in any case.
    Has(&'static [&'static str]),
}

/// How often to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Again {
    Never,
    /// So many times, if the settings allow as many.
    AtMost(u32),
    /// As often as the settings allow.
    AsSet,
}

/// How long to wait before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pause {
    /// The back-off of the settings.
    BackOff,
    /// Five times the back-off: memory must get free.
    Long,
    /// Half the back-off: a queue must get shorter.
    Short,
}

/// Whose fault it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blame {
    /// The whole request, at any server.
    Request,
    /// One of the texts: after the tries the request is cut in two, until the text is alone.
    Text,
    /// The server: another one may do better, and the breaker counts it.
    Server,
}

/// What is to be done about what was seen.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) rule: &'static Rule,
    pub(crate) error: Error,
    pub(crate) after: Option<Duration>,
}

impl Failure {
    /// Finds the rule, and puts the error together.
    pub(crate) fn of(seen: &Seen, profile: Profile, model: &str) -> Self {
        // The table ends in rules that match everything; `the_table_has_an_answer_for_everything` tests it.
        let last = &RULES[RULES.len() - 1];
        let rule = RULES.iter().find(|rule| rule.matches(seen, profile)).unwrap_or(last);
        let after = match seen {
            Seen::Answer { after, .. } => *after,
            _ => None,
        };
        let mut error = Error::new(rule.kind, rule.message.replace("{model}", model));
        if let Seen::Answer { status, .. } = seen {
            error = error.with_context("status", status);
        }
        error = error.with_context("rule", rule.name);
        if rule.again != Again::Never {
            error = error.with_retry(Retry::Temporary { after });
        }
        Self { rule, error, after }
    }

    /// Tries again that are allowed if the settings allow `tries` in all.
    pub(crate) fn retries(&self, tries: u32) -> u32 {
        match self.rule.again {
            Again::Never => 0,
            Again::AtMost(most) => most.min(tries - 1),
            Again::AsSet => tries - 1,
        }
    }

    /// The error for the caller, when no try is left: an outer retry must not multiply the tries.
    pub(crate) fn exhausted(self) -> Error {
        match self.error.retry() {
            Retry::Temporary { after: None } => self.error.with_retry(Retry::Exhausted),
            _ => self.error,
        }
    }
}

impl Rule {
    fn matches(&self, seen: &Seen, profile: Profile) -> bool {
        let (first, last) = self.profiles;
        if !(first..=last).contains(&profile) {
            return false;
        }
        match (self.on, seen) {
            (On::Connect, Seen::Connect)
            | (On::Name, Seen::Name)
            | (On::Tls, Seen::Tls)
            | (On::Broken, Seen::Broken)
            | (On::Silence, Seen::Silence)
            | (On::TooMuch, Seen::TooMuch)
            | (On::LeftOut, Seen::LeftOut) => true,
            (On::Rows(faults), Seen::Rows(fault)) => faults.contains(fault),
            (On::Statuses(first, last), Seen::Answer { status, .. }) => (first..=last).contains(status),
            (On::Answer(statuses, text), Seen::Answer { status, body, json, .. }) => {
                (statuses.is_empty() || statuses.contains(status)) && text.matches(body, *json)
            }
            _ => false,
        }
    }
}

impl Text {
    fn matches(self, body: &ErrorBody, json: bool) -> bool {
        let has = |parts: &[&str], text: &str| {
            let text = text.to_lowercase();
            parts.iter().any(|part| text.contains(&part.to_lowercase()))
        };
        match (self, body) {
            (Self::Any, _) | (Self::Empty, ErrorBody::Empty) | (Self::HiddenOr(_), ErrorBody::Hidden) => true,
            (Self::Json, _) => json,
            (Self::Is(whole), ErrorBody::Text(text)) => text.trim() == whole,
            (Self::Has(parts) | Self::HiddenOr(parts), ErrorBody::Text(text)) => has(parts, text),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::PROFILES;

    #[test]
    fn names_are_unique_and_messages_are_sentences() {
        let mut names: Vec<_> = RULES.iter().map(|rule| rule.name).collect();
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
        for rule in RULES {
            assert!(!rule.message.ends_with('.'), "{}", rule.name);
            assert!(rule.profiles.0 <= rule.profiles.1, "{}", rule.name);
        }
    }

    #[test]
    fn the_table_has_an_answer_for_everything() {
        let bodies =
            || [ErrorBody::Empty, ErrorBody::Hidden, ErrorBody::Foreign, ErrorBody::Text("?".into())];
        for entry in &PROFILES {
            for status in 200..600 {
                for body in bodies() {
                    let json = matches!(body, ErrorBody::Hidden | ErrorBody::Text(_));
                    let seen = Seen::Answer { status, body, json, after: None };
                    assert!(RULES.iter().any(|rule| rule.matches(&seen, entry.profile)), "{seen:?}");
                }
            }
            for fault in [
                RowFault::Count,
                RowFault::None,
                RowFault::Null,
                RowFault::Width,
                RowFault::NotFinite,
                RowFault::Zero,
                RowFault::Norm,
            ] {
                let seen = Seen::Rows(fault);
                assert!(RULES.iter().any(|rule| rule.matches(&seen, entry.profile)), "{seen:?}");
            }
            for seen in [
                Seen::Connect,
                Seen::Name,
                Seen::Tls,
                Seen::Broken,
                Seen::Silence,
                Seen::TooMuch,
                Seen::LeftOut,
            ] {
                assert!(RULES.iter().any(|rule| rule.matches(&seen, entry.profile)), "{seen:?}");
            }
        }
    }
}
