//! What the benchmarks are about: the areas of the report, the groups of criterion with their baselines, and what was
//! promised about them. A program that writes figures itself says baseline and promises in its lines.

use crate::figure::{Role, Target, Unit};

/// A chapter of the report.
#[derive(Debug)]
pub struct Area {
    /// Stable, for links.
    pub id: &'static str,
    /// The heading.
    pub title: &'static str,
    /// What is measured, in a sentence or two.
    pub about: &'static str,
    /// The suites of this area begin with one of these; of several that fit, the longest counts.
    prefixes: &'static [&'static str],
    /// Set where the suites are many and alike: one plot and one table for all that begin with this.
    pub family: Option<Family>,
}

/// Many suites that are measured alike, one plot for all.
#[derive(Debug)]
pub struct Family {
    /// What their names begin with.
    pub prefix: &'static str,
    /// What the plot shows.
    pub title: &'static str,
}

/// The suite at the top of the report and in the README.
pub const HEADLINE: &str = "e5/paragraphs";

/// The chapters, in their order.
pub const AREAS: &[Area] = &[
    Area {
        id: "e5",
        title: "E5 in the process",
        about: "multilingual-e5-small over real texts: how much goes through two cores, beside everything else that \
                runs the same weights.",
        prefixes: &["e5/"],
        family: None,
    },
    Area {
        id: "short",
        title: "Short queries",
        about: "A handful of tokens at a time, as a search box asks: alone, and from many callers at once.",
        prefixes: &["e5/short", "e5/quer", "short/"],
        family: None,
    },
    Area {
        id: "start",
        title: "Start and memory",
        about: "From the start of the process to its first vector, and the most memory that it took.",
        prefixes: &["e5/start", "e5/memory", "e5/peak", "start/", "memory/"],
        family: None,
    },
    Area {
        id: "ollama",
        title: "Ollama",
        about: "The client beside what a server can do at all, and beside other clients.",
        prefixes: &["ollama/"],
        family: None,
    },
    Area {
        id: "cache",
        title: "Cache",
        about: "A hit in memory and in Redis, beside bare caches with the same keys, values and checks.",
        prefixes: &["cache/", "redis/"],
        family: None,
    },
    Area {
        id: "detection",
        title: "Detection of languages",
        about: "What it costs to find out in which language a text is. Shorter is better; the line at 1 is the \
                baseline, on the same text.",
        prefixes: &["detection/", "detect/"],
        family: Some(Family { prefix: "detection/", title: "Cost beside whatlang = 1" }),
    },
    Area {
        id: "router",
        title: "Router",
        about: "What choosing a route adds to a call of a service that answers at once.",
        prefixes: &["router/"],
        family: None,
    },
    Area {
        id: "gateway",
        title: "Gateway",
        about: "HTTP in, vectors out: beside a bare axum handler that returns the same bytes.",
        prefixes: &["gateway/"],
        family: Some(Family {
            prefix: "gateway/cached text, ",
            title: "Throughput beside a bare axum handler = 1, 64 connections",
        }),
    },
    Area {
        id: "metrics",
        title: "Metrics",
        about: "What counting adds to a call, and what one page for Prometheus costs.",
        prefixes: &["metrics/"],
        family: None,
    },
    Area { id: "other", title: "Everything else", about: "", prefixes: &[""], family: None },
];

/// A group of criterion's.
#[derive(Debug)]
pub struct Group {
    /// Its name; a `*` at the end stands for anything.
    pattern: &'static str,
    /// What is compared here, in a sentence.
    pub about: &'static str,
    /// With which function the others are compared.
    pub baseline: Option<&'static str>,
    /// Set where the time is to be shown as a throughput.
    pub rate: Option<Unit>,
    rules: &'static [Rule],
}

/// A promise about a function of a group.
#[derive(Debug, Default)]
struct Rule {
    name: &'static str,
    against: Option<&'static str>,
    against_suite: Option<&'static str>,
    difference: bool,
    at_least: Option<f64>,
    at_most: Option<f64>,
}

/// A rule without anything, to be completed.
const RULE: Rule =
    Rule { name: "", against: None, against_suite: None, difference: false, at_least: None, at_most: None };

const GROUP: Group = Group { pattern: "", about: "", baseline: None, rate: None, rules: &[] };

/// Issue 4, point 6, and what was measured when it was closed.
const HIT: Rule = Rule { name: TIER, against: Some("quick_cache"), at_most: Some(2.0), ..RULE };
const HITS: Rule = Rule { at_most: Some(1.5), ..HIT };
/// Issue 5, point 2: other scripts at most half of a call of whatlang, Latin at most 1.1 of one.
const LATIN: Rule = Rule { name: DETECTOR, against: Some("whatlang"), at_most: Some(1.1), ..RULE };
const OTHER_SCRIPT: Rule = Rule { at_most: Some(0.5), ..LATIN };
/// And no more for a megabyte than for 2,000 characters; a twentieth is what two runs of the same differ by.
const MILLION: Rule = Rule { name: DETECTOR, against: Some(DETECTOR), at_most: Some(1.05), ..RULE };
/// Issue 5, point 2: the router itself adds under 3 µs.
const ROUTED: Rule =
    Rule { name: "", against: Some("bare service"), difference: true, at_most: Some(3000.0), ..RULE };

const TIER: &str = "embed-cache tier";
const DETECTOR: &str = "embed-router";

/// The groups; of several that fit, the first counts.
const GROUPS: &[Group] = &[
    Group {
        pattern: "e5/engine, *",
        about: "160 mixed English and Japanese texts of 4 to 512 tokens: the engine, and bare `ort` by hand on the same \
                model file.",
        baseline: Some("bare ort, batches of 32"),
        rate: Some(Unit::Tokens),
        ..GROUP
    },
    Group {
        pattern: "e5/short query, *",
        about: "One query of five tokens at a time, tokenizer included.",
        baseline: Some("bare ort"),
        ..GROUP
    },
    Group {
        pattern: "ollama/one call of *",
        about: "One request to a double of the server that answers at once, and the same bytes by bare reqwest.",
        baseline: Some("bare reqwest"),
        ..GROUP
    },
    Group {
        pattern: "cache/lookup of *",
        about: "Values found and handed over, not looked at.",
        baseline: Some("quick_cache"),
        ..GROUP
    },
    Group {
        pattern: "cache/hit of 1",
        about: "A row found, its checksum and its numbers checked, and copied out.",
        baseline: Some("quick_cache"),
        rules: &[HIT, Rule { name: TIER, at_most: Some(1000.0), ..RULE }],
        ..GROUP
    },
    Group {
        pattern: "cache/hit of 32",
        about: "32 rows found, checked and copied out.",
        baseline: Some("quick_cache"),
        rules: &[HITS],
        ..GROUP
    },
    Group {
        pattern: "cache/hit of *",
        about: "One row at a time in each of two threads: the time of a row in the slower one.",
        baseline: Some("quick_cache"),
        ..GROUP
    },
    Group {
        pattern: "cache/request of 1",
        about: "A whole request that hits, from the text to the response; by hand: SHA-256, lookup, copy, and with the \
                two checks that no row comes without.",
        baseline: Some("by hand, checked"),
        rules: &[Rule { name: "embed-cache Cached", at_most: Some(1000.0), ..RULE }],
        ..GROUP
    },
    Group {
        pattern: "cache/request of *",
        about: "The same with 32 texts in a request.",
        baseline: Some("by hand, checked"),
        ..GROUP
    },
    Group {
        pattern: "cache/redis, 32 rows",
        about: "32 rows from a Redis on loopback: one call of the tier, and single `GET`s by hand with fred.",
        baseline: Some("32 GETs, one after the other"),
        rate: Some(Unit::Texts),
        rules: &[Rule {
            name: "embed-cache get_many",
            against: Some("32 GETs, one after the other"),
            at_least: Some(5.0),
            ..RULE
        }],
    },
    Group {
        pattern: "cache/redis, frozen",
        about: "Requests for new texts while Redis stands still: never longer than the budget, and less on average.",
        rules: &[Rule { name: "embed-cache Cached", at_most: Some(25e6), ..RULE }],
        ..GROUP
    },
    Group {
        pattern: "cache/short text of e5",
        about: "A short text that the cache has, and the engine that computes it.",
        baseline: Some("embed-e5"),
        rules: &[Rule { name: "embed-cache Cached", against: Some("embed-e5"), at_most: Some(0.01), ..RULE }],
        ..GROUP
    },
    Group { pattern: "cache/redis, 32 rows written", rate: Some(Unit::Texts), ..GROUP },
    Group {
        pattern: "cache/redis, 64 callers*",
        about: "What more than one connection brings when 64 callers ask for 32 rows each.",
        baseline: Some("1 connections"),
        rate: Some(Unit::Texts),
        ..GROUP
    },
    Group { pattern: "cache/parts of a hit", about: "What a hit is made of.", ..GROUP },
    million(
        "detection/English, a million characters",
        &[million_against("detection/English, 2,000 characters"), LATIN],
    ),
    million(
        "detection/French, a million characters",
        &[million_against("detection/French, 2,000 characters"), LATIN],
    ),
    million(
        "detection/Indonesian, a million characters",
        &[million_against("detection/Indonesian, 2,000 characters"), LATIN],
    ),
    detection("detection/English*", &[LATIN]),
    detection("detection/French*", &[LATIN]),
    detection("detection/Indonesian*", &[LATIN]),
    detection("detection/Spanish*", &[LATIN]),
    detection("detection/*", &[OTHER_SCRIPT]),
    Group {
        pattern: "router/one text",
        about: "A call of one text through the router, over a service that answers at once.",
        baseline: Some("bare service"),
        rules: &[
            Rule { name: "forced route", ..ROUTED },
            Rule { name: "pinned partition", ..ROUTED },
            Rule { name: "policy, trivial detector", ..ROUTED },
            Rule { name: "one route, no fallback", ..ROUTED },
            Rule { name: "rollout, moved partition", ..ROUTED },
            Rule { name: "rollout, no partition", ..ROUTED },
        ],
        ..GROUP
    },
    Group {
        pattern: "router/300 texts",
        about: "A call of 300 texts, to one route and split between two.",
        baseline: Some("bare service"),
        ..GROUP
    },
    Group {
        pattern: "router/a server of 5 ms",
        about: "What a caller notices of a candidate on trial.",
        baseline: Some("no trials"),
        rules: &[Rule {
            name: "trials of every call",
            against: Some("no trials"),
            at_most: Some(1.02),
            ..RULE
        }],
        ..GROUP
    },
    Group {
        pattern: "gateway/cached text, *",
        about: "Client and server share one process and its threads; what is promised is judged by `embed serve`.",
        baseline: Some("bare axum"),
        rate: Some(Unit::Requests),
        ..GROUP
    },
    Group {
        pattern: "e5/layer, *",
        about: "A layer of the network, on one core. A token goes through twelve.",
        rate: Some(Unit::Tokens),
        ..GROUP
    },
    Group {
        pattern: "metrics/call of *",
        about: "A service that answers at once, bare and recorded.",
        baseline: Some("bare service"),
        ..GROUP
    },
];

const fn detection(pattern: &'static str, rules: &'static [Rule]) -> Group {
    Group { pattern, baseline: Some("whatlang"), rules, ..GROUP }
}

const fn million(pattern: &'static str, rules: &'static [Rule]) -> Group {
    detection(pattern, rules)
}

const fn million_against(suite: &'static str) -> Rule {
    Rule { against_suite: Some(suite), ..MILLION }
}

impl Group {
    /// What was promised about a function.
    #[must_use]
    pub fn targets(&self, name: &str) -> Vec<Target> {
        let rules = self.rules.iter().filter(|rule| rule.name == name);
        rules
            .map(|rule| Target {
                against: rule.against.map(str::to_owned),
                against_suite: rule.against_suite.map(str::to_owned),
                difference: rule.difference,
                at_least: rule.at_least,
                at_most: rule.at_most,
                ..Target::default()
            })
            .collect()
    }
}

/// The group of criterion's of that name.
#[must_use]
pub fn group(name: &str) -> Option<&'static Group> {
    GROUPS.iter().find(|group| match group.pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == group.pattern,
    })
}

/// Whose function of a group it is, by its name.
#[must_use]
pub fn role(name: &str) -> Role {
    let starts = |words: &[&str]| words.iter().any(|word| name.starts_with(word));
    if starts(&["bare ort", "by hand", "quick_cache", "moka", "whatlang", "whichlang", "lingua", "32 GETs"]) {
        Role::Rival
    } else if starts(&["bare"]) {
        Role::Limit
    } else {
        Role::Ours
    }
}

/// The chapter of a suite.
#[must_use]
pub fn area(suite: &str) -> &'static Area {
    let fits = |area: &Area| {
        area.prefixes.iter().filter(|prefix| suite.starts_with(**prefix)).map(|p| p.len()).max()
    };
    let last = &AREAS[AREAS.len() - 1];
    AREAS.iter().filter(|area| fits(area).is_some()).max_by_key(|area| fits(area)).unwrap_or(last)
}

/// A suite's name without the area.
#[must_use]
pub fn title(suite: &str) -> String {
    let rest = suite.split_once('/').map_or(suite, |(_, rest)| rest);
    // Programs write `query-p50`, criterion's groups are whole words.
    let rest = if rest.contains(' ') { rest.to_owned() } else { rest.replace('-', " ") };
    let mut letters = rest.chars();
    // Names of programs that are words of a language keep their letters: none of ours begins a suite.
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_names_the_area() {
        for (suite, id) in [
            ("e5/paragraphs", "e5"),
            ("e5/short query, int8", "short"),
            ("e5/start", "start"),
            ("detection/French, 2,000 characters", "detection"),
            ("something", "other"),
        ] {
            assert_eq!(area(suite).id, id, "{suite}");
        }
    }

    #[test]
    fn every_promise_is_about_a_bound_and_its_group_is_reachable() {
        for group in GROUPS {
            let example = group.pattern.replace('*', "1000 x");
            let found = super::group(&example).unwrap();
            assert_eq!(found.pattern, group.pattern, "{example} is hidden by another group");
            for rule in group.rules {
                assert!(rule.at_least.is_some() != rule.at_most.is_some(), "{}: {rule:?}", group.pattern);
            }
        }
    }

    #[test]
    fn roles_follow_the_names() {
        assert_eq!(role("bare ort, batches of 32"), Role::Rival);
        assert_eq!(role("bare axum"), Role::Limit);
        assert_eq!(role("embed-cache tier"), Role::Ours);
    }
}
