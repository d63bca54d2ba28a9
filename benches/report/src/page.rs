//! The report as one page of HTML that opens anywhere: nothing is loaded, and no script runs.

use std::collections::BTreeSet;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::catalogue::{self, AREAS, Area, HEADLINE};
use crate::chart::{Chart, DARK, LIGHT};
use crate::figure::{Better, Role};
use crate::font;
use crate::number::{name_of_extra, times, unit_of_extra};
use crate::report::{Measured, Promise, Report, Suite};

const STYLE: &str = include_str!("page.css");

/// Writes the page.
#[must_use]
pub fn page(report: &Report) -> String {
    let headline = headline(report);
    let plots = format!("{}@media (prefers-color-scheme:dark){{{}}}", LIGHT.css(), DARK.css());
    let areas: Vec<(&Area, Vec<&Suite>)> = AREAS
        .iter()
        .map(|area| (area, report.suites.iter().filter(|suite| in_area(suite, area)).collect::<Vec<_>>()))
        .filter(|(_, suites)| !suites.is_empty())
        .collect();
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { "embed: benchmarks of " (report.run.date) }
                style { (PreEscaped(font::css())) (PreEscaped(STYLE)) (PreEscaped(plots)) }
            }
            body {
                header {
                    h1 { "embed, measured" }
                    p.facts {
                        (report.machine.cpu) ", " (report.machine.cores) " cores · commit "
                        (short_commit(report)) " · " (report.run.date)
                        @if report.run.quick { " · " strong { "quick run: rough figures" } }
                    }
                }
                main {
                    @if let Some((suite, sentence)) = &headline {
                        section #headline {
                            @if let Some(sentence) = sentence { p.lead { (sentence) } }
                            div.wide { (Chart::of_suite(suite, headline_title(suite)).inline("headline")) }
                        }
                    }
                    (summary(report))
                    nav { @for (area, _) in &areas { a href={ "#" (area.id) } { (area.title) } } a href="#run" { "This run" } }
                    @for (area, suites) in &areas { (chapter(report, area, suites)) }
                    (this_run(report))
                }
            }
        }
    }
    .into_string()
}

/// The suite at the top, and what a reader takes home from it.
#[must_use]
pub fn headline(report: &Report) -> Option<(&Suite, Option<String>)> {
    let suite = report.suite(HEADLINE).or_else(|| report.suite("e5/engine, int8"))?;
    Some((suite, lead(suite)))
}

/// The heading of the plot at the top.
#[must_use]
pub fn headline_title(suite: &Suite) -> String {
    match suite.id.as_str() {
        HEADLINE => "E5 over mixed paragraphs, same weights, same texts".to_owned(),
        _ => suite.title(),
    }
}

fn lead(suite: &Suite) -> Option<String> {
    let ours = suite.best(Role::Ours)?;
    let against = |other: &Measured, word: &str| {
        let (own, other_value) = (ours.value.median, other.value.median);
        let ratio = if suite.better == Better::Higher { own / other_value } else { other_value / own };
        format!("{} {}{word}", times(ratio), other.name)
    };
    let rival = suite.best(Role::Rival);
    let mut parts = Vec::new();
    if let Some(baseline) = suite.baseline().filter(|base| rival.is_some_and(|rival| rival.name != base.name))
    {
        parts.push(against(baseline, ""));
    }
    parts.extend(rival.map(|rival| against(rival, " (the best rival)")));
    parts.extend(suite.best(Role::Limit).map(|limit| against(limit, " (the limit)")));
    let tail = if parts.is_empty() { String::new() } else { format!(", {}", parts.join(", ")) };
    Some(format!("{}: {}{tail}.", ours.name, suite.unit.show(ours.value.median)))
}

fn in_area(suite: &Suite, area: &Area) -> bool {
    catalogue::area(&suite.id).id == area.id
}

fn short_commit(report: &Report) -> String {
    let commit: String = report.run.commit.chars().take(10).collect();
    if report.run.dirty { commit + " with changes" } else { commit }
}

fn summary(report: &Report) -> Markup {
    let (met, missed): (Vec<_>, Vec<_>) = report.promises().partition(|(_, _, promise)| promise.met);
    html! {
        section.summary {
            @if !(met.is_empty() && missed.is_empty()) {
                p {
                    strong { (met.len()) " of " (met.len() + missed.len()) " promises kept" }
                    @if missed.is_empty() { "." } @else { "; missed:" }
                }
                ul {
                    @for (suite, figure, promise) in &missed {
                        li {
                            span.missed { "✗" } " " a href={ "#" (anchor(suite)) } { (suite.id) } ", " (figure.name) ": "
                            (promise.text) ", measured " strong { (promise.measured) }
                        }
                    }
                }
            }
            @for problem in &report.problems { p { span.missed { "✗" } " " (problem) } }
            @if !report.skipped.is_empty() {
                details {
                    summary { "not measured: " (report.skipped.len()) }
                    ul {
                        @for skipped in &report.skipped {
                            li {
                                @if let Some(suite) = &skipped.suite { (suite) ": " }
                                strong { (skipped.what) } ": " (skipped.why)
                            }
                        }
                    }
                }
            }
        }
    }
}

fn chapter(report: &Report, area: &Area, suites: &[&Suite]) -> Markup {
    let of_family =
        |suite: &&&Suite| area.family.as_ref().is_some_and(|family| suite.id.starts_with(family.prefix));
    let (family, single): (Vec<_>, Vec<_>) = suites.iter().partition(of_family);
    html! {
        section id=(area.id) {
            h2 { (area.title) }
            @if !area.about.is_empty() { p { (area.about) } }
            @if let Some(chart) = area.family.as_ref().and_then(|family| Chart::of_family(report, family)) {
                div.wide { (chart.inline(area.id)) }
                (table(&family, true))
            }
            @for suite in single {
                article id=(anchor(suite)) {
                    h3 { (suite.title()) }
                    @if let Some(group) = catalogue::group(&suite.id) { @if !group.about.is_empty() { p { (group.about) } } }
                    // The one at the top is not drawn twice, and cosines would all be as long as each other.
                    @if suite.unit.divides() && headline(report).is_none_or(|(top, _)| top.id != suite.id) {
                        div.wide { (Chart::of_suite(suite, String::new()).inline(&anchor(suite))) }
                    }
                    (table(&[suite], false))
                }
            }
        }
    }
}

/// One row for each figure, and below it what was promised about it. The suites share the columns, and name themselves
/// where they are several.
fn table(suites: &[&Suite], named: bool) -> Markup {
    let figures = || suites.iter().flat_map(|suite| suite.figures.iter());
    let extras: BTreeSet<&str> =
        figures().flat_map(|figure| figure.extra.keys().map(String::as_str)).collect();
    let compared = figures().any(|figure| figure.ratio.is_some());
    let columns = 3 + extras.len() + if compared { 2 } else { 0 };
    let rows = |suite: &Suite| {
        let promised = suite.figures.iter().filter(|figure| !figure.promises.is_empty());
        suite.figures.len() + promised.count()
    };
    html! {
        div.wide {
            table {
                thead {
                    tr {
                        @if named { th { "" } }
                        th { "contender" }
                        th.number { "median" }
                        th.number { "spread" }
                        @if compared { th.number { "× baseline" } th.number { "spread" } }
                        @for extra in &extras { th.number { (name_of_extra(extra)) } }
                    }
                }
                @for suite in suites {
                    tbody id=[named.then(|| anchor(suite))] {
                        @for (index, figure) in suite.figures.iter().enumerate() {
                            tr class=(role_class(figure.role)) {
                                @if named && index == 0 {
                                    th scope="rowgroup" rowspan=(rows(suite)) { (suite.title()) }
                                }
                                (row(suite, figure, &extras, compared))
                            }
                            @if !figure.promises.is_empty() {
                                tr.promises {
                                    td colspan=(columns) { @for promise in &figure.promises { (judged(promise)) } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn row(suite: &Suite, figure: &Measured, extras: &BTreeSet<&str>, compared: bool) -> Markup {
    let show = |value: f64| suite.unit.show(value);
    html! {
        td.name {
            span.mark role="img" title=(role_word(figure.role)) aria-label=(role_word(figure.role)) {}
            (figure.name)
            @if let Some(note) = &figure.note { small { (note) } }
        }
        td.number.strong { (show(figure.value.median)) }
        td.number.faint title={ (figure.rounds) " rounds" } { (range(&show(figure.value.low), &show(figure.value.high))) }
        @if compared {
            @match &figure.ratio {
                Some(ratio) => {
                    td.number.strong { (times(ratio.median)) }
                    td.number.faint { (range(&times(ratio.low), &times(ratio.high))) }
                }
                None => { td.number.faint { @if figure.baseline { "baseline" } } td {} }
            }
        }
        @for extra in extras {
            td.number { @if let Some(value) = figure.extra.get(*extra) { (unit_of_extra(extra).show(*value)) } }
        }
    }
}

/// From one value to another; a unit that both have is written once.
fn range(low: &str, high: &str) -> String {
    match (low.split_once(' '), high.split_once(' ')) {
        (Some((number, unit)), Some((_, other))) if unit == other => format!("{number} – {high}"),
        _ => format!("{low} – {high}"),
    }
}

fn judged(promise: &Promise) -> Markup {
    let (class, mark, word) = if promise.met { ("met", "✓", "kept") } else { ("missed", "✗", "missed") };
    html! {
        div.promise { span class=(class) { (mark) " " (word) } " " (promise.text) ": " (promise.measured) }
    }
}

fn this_run(report: &Report) -> Markup {
    let machine = &report.machine;
    let run = &report.run;
    let load: Vec<String> = run.load.iter().map(|load| format!("{load:.1}")).collect();
    let facts = [
        (
            "processor",
            [machine.cpu.as_str(), machine.kind.as_str()].join(", ").trim_end_matches(", ").to_owned(),
        ),
        ("cores", format!("{} (affinity and quota)", machine.cores)),
        ("memory", format!("{:.1} GB", machine.memory as f64 / 1e9)),
        ("instructions", machine.flags.join(", ")),
        ("system", machine.system.clone()),
        ("load at the end", load.join(", ")),
        ("commit", run.commit.clone() + if run.dirty { ", with changes" } else { "" }),
        ("date", run.date.clone()),
        ("command", run.command.clone()),
    ];
    let said = report.facts.iter().chain(&report.versions);
    let said = said.map(|(name, value)| (name.as_str(), value.clone()));
    html! {
        section #run {
            h2 { "This run" }
            div.wide {
                table.facts {
                    @for (name, value) in facts.into_iter().chain(said) { tr { th scope="row" { (name) } td { (value) } } }
                }
            }
            p {
                "Each figure is the median of its rounds. The spread is the smallest and the largest of them, and of ten \
                 samples or more, the 10th and the 90th percentile. ×N is how many times better than the baseline: twice \
                 the throughput and half the time are both ×2. Contenders that ran in turns are divided round by round. \
                 docs/benchmarks.md says more."
            }
        }
    }
}

fn anchor(suite: &Suite) -> String {
    let letters = suite.id.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' });
    format!("s-{}", letters.collect::<String>())
}

fn role_class(role: Role) -> &'static str {
    match role {
        Role::Ours => "ours",
        Role::Rival => "rival",
        Role::Limit => "limit",
    }
}

fn role_word(role: Role) -> &'static str {
    match role {
        Role::Ours => "of this workspace",
        Role::Rival => "what one could take instead",
        Role::Limit => "a limit",
    }
}
