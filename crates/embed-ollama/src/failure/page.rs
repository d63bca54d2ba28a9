//! The page of the docs that shows the table, rendered by a test.

use std::fmt::Write as _;
use std::path::Path;

use embed_remote::{Again, Blame, Pause};

use super::rule::{On, Rule, Text};
use super::table::RULES;
use crate::profile::{Entry, PROFILES, Profile};

#[test]
fn failures_page() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/ollama-failures.md");
    embed_testkit::golden(path, "-p embed-ollama --lib failures_page", &render());
}

fn render() -> String {
    let mut page = String::from(
        "# What the client makes of Ollama's failures\n\n\
         Rendered from the table in `crates/embed-ollama/src/failure/table.rs`; a test compares them. To write it\n\
         anew, run `EMBED_BLESS=1 cargo test -p embed-ollama --lib failures_page`.\n\n\
         The first rule that matches decides. *Again* is how often a request is tried again, as far as the setting\n\
         `tries` allows. *Blame* says what follows when no try is left: a fault of a *text* cuts the request in two\n\
         until that text is alone, and only its row fails; a fault of the *server* counts for its breaker, and\n\
         another server is asked; a fault of the *request* ends it. For a fault of the server with a plain back-off no\n\
         try begins later than `longest_outage` (3 s) after the first failure.\n\n\
         | rule | profiles | what was seen | kind | again | pause | blame |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for rule in RULES {
        let Rule { name, kind, .. } = rule;
        let (again, pause) = match (rule.again, rule.pause) {
            (Again::Never, _) => ("no".to_owned(), "–"),
            (again, pause) => (
                match again {
                    Again::AtMost(1) => "once".to_owned(),
                    Again::AtMost(times) => format!("{times} times"),
                    _ => "as set".to_owned(),
                },
                match pause {
                    Pause::BackOff => "back-off",
                    Pause::Long => "5 × back-off",
                    Pause::Short => "½ × back-off",
                },
            ),
        };
        let blame = match rule.blame {
            Blame::Request | Blame::Size => "request",
            Blame::Text => "text",
            Blame::Server => "server",
        };
        let seen = seen(rule.on);
        let profiles = profiles(rule.profiles);
        // Writing to a string doesn't fail.
        let _ = writeln!(page, "| `{name}` | {profiles} | {seen} | `{kind}` | {again} | {pause} | {blame} |");
    }
    page.push_str("\n## The profiles\n\n| profile | versions |\n|---|---|\n");
    for (index, Entry { profile, since }) in PROFILES.iter().enumerate() {
        let next = PROFILES.get(index + 1).map(|next| next.since);
        let versions = match (index, next) {
            (0, Some(next)) => format!("before {next}"),
            (_, Some(next)) => format!("from {since}, before {next}"),
            (_, None) => format!("from {since}"),
        };
        let _ = writeln!(page, "| {profile} | {versions} |");
    }
    page
}

fn profiles((first, last): (Profile, Profile)) -> String {
    match (first, last) {
        (Profile::Legacy, Profile::J) => "all".to_owned(),
        (Profile::Legacy, last) => format!("to {last}"),
        (first, last) => format!("{first}–{last}"),
    }
}

fn seen(on: On) -> String {
    let list = |parts: &[&str]| {
        let quoted: Vec<_> = parts.iter().map(|part| format!("`{part}`")).collect();
        quoted.join(", ")
    };
    match on {
        On::Connect => "no connection".to_owned(),
        On::Name => "no address for the name".to_owned(),
        On::Tls => "no TLS".to_owned(),
        On::Broken => "the connection ends before the answer does".to_owned(),
        On::Silence => "no answer in time".to_owned(),
        On::TooMuch => "an answer longer than it can be".to_owned(),
        On::LeftOut => "none, for it failed too often".to_owned(),
        On::Statuses(first, last) => format!("any other {first} to {last}"),
        On::Rows(faults) => {
            let names: Vec<_> = faults.iter().map(|fault| fault.describe()).collect();
            format!("200 with {}", names.join(", "))
        }
        On::Answer(statuses, text) => {
            let statuses: Vec<_> = statuses.iter().map(u16::to_string).collect();
            let status = if statuses.is_empty() { "anything else".to_owned() } else { statuses.join(", ") };
            match text {
                Text::Any => status,
                Text::HiddenOr(parts) => format!("{status} with `{{\"error\":{{}}}}` or {}", list(parts)),
                Text::Empty => format!("{status} with an empty body"),
                Text::Json => format!("{status} with JSON"),
                Text::Is(whole) => format!("{status} with just `{whole}`"),
                Text::Has(parts) => format!("{status} with {}", list(parts)),
            }
        }
    }
}
