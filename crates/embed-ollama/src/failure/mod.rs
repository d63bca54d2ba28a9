//! What went wrong, and what follows from it: one table, read from top to bottom.
//!
//! A status alone decides nothing: before 0.13.3 a caller's fault may be a 500, and from then on a crash
//! may be a 400. So a rule looks at the profile, the status and the text.

#[cfg(test)]
mod page;
mod rule;
mod table;

use embed_core::{Error, ErrorKind, Retry};
use embed_remote::{Again, Failure, Reason, Seen};

use crate::profile::Profile;
use rule::{Rule, Said};
use table::RULES;

/// Finds the rule for what was seen, and says what is to be done about it.
pub(crate) fn failure(seen: &Seen, profile: Profile, model: &str) -> Failure {
    let said = Said::of(seen);
    // The table ends in rules that match everything; `the_table_has_an_answer_for_everything` tests it.
    let last = &RULES[RULES.len() - 1];
    let rule = RULES.iter().find(|rule| rule.matches(seen, &said, profile)).unwrap_or(last);
    let mut error = Error::new(rule.kind, rule.message.replace("{model}", model));
    let mut after = None;
    if let Seen::Answer { status, after: asked, .. } = seen {
        error = error.with_context("status", status);
        after = *asked;
    }
    error = error.with_context("rule", rule.name);
    if rule.again != Again::Never {
        error = error.with_retry(Retry::Temporary { after });
    }
    Failure { error, after, again: rule.again, pause: rule.pause, blame: rule.blame, reason: reason(rule) }
}

/// Whether an error of the table is about the text, and not about the service.
pub(crate) fn is_about_text(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::InvalidInput
        | ErrorKind::InputTooLong
        | ErrorKind::Protocol
        | ErrorKind::DimensionMismatch => true,
        // A crash that followed a text until it was alone.
        ErrorKind::Unavailable => error
            .context()
            .any(|(name, value)| name == "rule" && (value.starts_with("crash") || value.ends_with("-500"))),
        _ => false,
    }
}

fn reason(rule: &Rule) -> Reason {
    match (rule.name, rule.kind) {
        ("crash-400" | "crash-500" | "crash-hidden", _) => Reason::Crash,
        ("rows" | "row-width", _) => Reason::Rows,
        (_, ErrorKind::Overloaded | ErrorKind::RateLimited) => Reason::Busy,
        ("silence", _) => Reason::Silence,
        ("refused" | "no-address" | "tls" | "broken", _) => Reason::Connection,
        _ => Reason::Other,
    }
}

#[cfg(test)]
mod tests {
    use embed_remote::{Body, RowFault};

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
        let has_rule = |seen: &Seen, profile| {
            let said = Said::of(seen);
            assert!(RULES.iter().any(|rule| rule.matches(seen, &said, profile)), "{seen:?}");
        };
        for entry in &PROFILES {
            for status in 200..600 {
                for body in ["", "{\"error\":{}}", "<html>", "{\"error\":\"?\"}"] {
                    let body = Body(body.as_bytes().to_vec());
                    has_rule(
                        &Seen::Answer { status, headers: Box::default(), body, after: None },
                        entry.profile,
                    );
                }
            }
            for fault in RowFault::ALL {
                has_rule(&Seen::Rows(fault), entry.profile);
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
                has_rule(&seen, entry.profile);
            }
        }
    }
}
