//! A row of the table: what it matches, and what follows.

use embed_core::ErrorKind;
use embed_remote::{Again, Blame, Pause, RowFault, Seen};

use crate::profile::Profile;
use crate::wire::{ErrorBody, is_json};

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

/// What the body of an answer says.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) body: ErrorBody,
    /// Whether it is JSON: a route or a proxy that isn't Ollama's API answers in text.
    pub(super) json: bool,
}

impl Said {
    pub(super) fn of(seen: &Seen) -> Self {
        let Seen::Answer { body, .. } = seen else {
            return Self { body: ErrorBody::Empty, json: false };
        };
        Self { body: ErrorBody::read(&body.0), json: is_json(&body.0) }
    }
}

impl Rule {
    /// Whether it is for what was seen; `said` is what a body that answered says.
    pub(super) fn matches(&self, seen: &Seen, said: &Said, profile: Profile) -> bool {
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
            (On::Answer(statuses, text), Seen::Answer { status, .. }) => {
                (statuses.is_empty() || statuses.contains(status)) && text.matches(&said.body, said.json)
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
