//! What went wrong, and what follows from it: one table, read from top to bottom.
//!
//! A status alone decides nothing: before 0.13.3 a caller's fault may be a 500, and from then on a crash
//! may be a 400. So a rule looks at the profile, the status and the text.

#[cfg(test)]
mod page;
mod rule;
mod seen;
mod table;

use std::time::Duration;

use embed_core::{Error, Retry};

use crate::profile::Profile;
use rule::{Again, Rule};
use table::RULES;

pub(crate) use rule::{Blame, Pause};
pub(crate) use seen::{RowFault, Seen};

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::PROFILES;
    use crate::wire::ErrorBody;

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
