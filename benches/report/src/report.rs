//! The report itself: what is written as JSON, and what every other form is made from.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::catalogue;
use crate::facts::{Machine, Run};
use crate::figure::{Better, Figure, Role, Skipped, Target, Unit};
use crate::number::{name_of_extra, unit_of_extra};
use crate::stats::Spread;

/// The form of the JSON. A change that an older reader would misunderstand is a new number.
pub const SCHEMA: &str = "embed-bench/1";

/// One run of the benchmarks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: String,
    /// When, of what, how.
    pub run: Run,
    /// Where.
    pub machine: Machine,
    /// Compiler, libraries, servers.
    pub versions: BTreeMap<String, String>,
    /// What else a reader should know of the run: the kernels, the memory that it took, whether others were busy.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub facts: BTreeMap<String, String>,
    /// What was not measured, and why.
    pub skipped: Vec<Skipped>,
    /// What went wrong: a benchmark that failed, a line that can't be read.
    pub problems: Vec<String>,
    /// The figures.
    pub suites: Vec<Suite>,
}

/// Figures that may be compared with each other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Suite {
    /// Stable, such as `e5/paragraphs`.
    pub id: String,
    /// What the medians are counted in.
    pub unit: Unit,
    /// Which way is good.
    pub better: Better,
    /// The contenders, the best one first.
    pub figures: Vec<Measured>,
}

/// One contender's figure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// The contender.
    pub name: String,
    /// Whose it is.
    pub role: Role,
    /// Whether the others are compared with this one.
    pub baseline: bool,
    /// How it was set up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// How many rounds or samples were taken.
    pub rounds: usize,
    /// Middle and spread, in the suite's unit.
    #[serde(flatten)]
    pub value: Spread,
    /// How many times better than the baseline: 2 is twice the throughput, or half the time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio: Option<Spread>,
    /// Further numbers, such as `p95_ms`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub extra: BTreeMap<String, f64>,
    /// What was promised, and whether it is kept.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub promises: Vec<Promise>,
}

/// What was promised about a figure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Promise {
    /// In words, such as `at least 15 × fastembed default`.
    pub text: String,
    /// What was measured, as it is shown.
    pub measured: String,
    /// Whether it is kept.
    pub met: bool,
}

impl Report {
    /// Puts figures together into suites, and judges their promises.
    #[must_use]
    pub fn new(run: Run, machine: Machine, versions: BTreeMap<String, String>, figures: Vec<Figure>) -> Self {
        let mut problems = Vec::new();
        let mut groups: Vec<Vec<Figure>> = Vec::new();
        for figure in figures {
            let same = |other: &Figure| {
                (&other.suite, other.unit, other.better) == (&figure.suite, figure.unit, figure.better)
            };
            match groups.iter_mut().find(|group| same(&group[0])) {
                Some(group) => {
                    if let Some(twice) = group.iter_mut().find(|other| other.name == figure.name) {
                        problems.push(format!(
                            "`{}` in `{}` came twice; the last one stands",
                            figure.name, figure.suite
                        ));
                        *twice = figure;
                    } else {
                        group.push(figure);
                    }
                }
                None => groups.push(vec![figure]),
            }
        }
        let mut suites: Vec<Suite> =
            groups.iter().map(|group| suite(group, &groups, &mut problems)).collect();
        // By area, and in an area as they came.
        suites.sort_by_key(|suite| {
            let id = catalogue::area(&suite.id).id;
            catalogue::AREAS.iter().position(|area| area.id == id)
        });
        let (schema, facts, skipped) = (SCHEMA.to_owned(), BTreeMap::new(), Vec::new());
        Self { schema, run, machine, versions, facts, skipped, problems, suites }
    }

    /// Reads what was written as JSON.
    ///
    /// # Errors
    ///
    /// If it is no report, or one of another schema.
    pub fn from_json(text: &str) -> Result<Self> {
        #[derive(Deserialize)]
        struct Head {
            schema: String,
        }
        let head: Head = serde_json::from_str(text).context("it is no report of `cargo xtask bench`")?;
        ensure!(
            head.schema == SCHEMA,
            "its schema is {}, and this program reads {SCHEMA}; measure again with one version of the repository",
            head.schema
        );
        serde_json::from_str(text).context("it names the right schema, but doesn't follow it")
    }

    /// The suite of that name.
    #[must_use]
    pub fn suite(&self, id: &str) -> Option<&Suite> {
        self.suites.iter().find(|suite| suite.id == id)
    }

    /// All promises, with the suite and the figure that they are about.
    pub fn promises(&self) -> impl Iterator<Item = (&Suite, &Measured, &Promise)> {
        self.suites.iter().flat_map(|suite| {
            suite
                .figures
                .iter()
                .flat_map(move |figure| figure.promises.iter().map(move |promise| (suite, figure, promise)))
        })
    }
}

impl Suite {
    /// The heading.
    #[must_use]
    pub fn title(&self) -> String {
        catalogue::title(&self.id)
    }

    /// The contender that the others are compared with.
    #[must_use]
    pub fn baseline(&self) -> Option<&Measured> {
        self.figures.iter().find(|figure| figure.baseline)
    }

    /// The best figure of a role.
    #[must_use]
    pub fn best(&self, role: Role) -> Option<&Measured> {
        self.figures.iter().find(|figure| figure.role == role)
    }
}

fn suite(group: &[Figure], all: &[Vec<Figure>], problems: &mut Vec<String>) -> Suite {
    let Figure { suite: name, unit, better, .. } = &group[0];
    let (unit, better) = (*unit, *better);
    // The unit is part of the name where a program gave one name to figures of several units.
    let first = all
        .iter()
        .find(|other| other[0].suite == *name)
        .is_none_or(|other| std::ptr::eq(&raw const other[0], &raw const group[0]));
    let id = if first { name.clone() } else { format!("{name} ({})", unit.axis()) };
    let baselines = group.iter().filter(|figure| figure.baseline).count();
    if baselines > 1 {
        problems.push(format!("`{name}` has {baselines} baselines; the first one is taken"));
    }
    let baseline = group.iter().find(|figure| figure.baseline);
    let measured = |figure: &Figure| {
        let ratio = baseline
            .filter(|baseline| unit.divides() && baseline.name != figure.name)
            .and_then(|base| Spread::ratio(&figure.samples, &base.samples, better, figure.in_turns));
        Some(Measured {
            name: figure.name.clone(),
            role: figure.role,
            baseline: baseline.is_some_and(|baseline| baseline.name == figure.name),
            note: figure.note.clone(),
            rounds: figure.samples.len(),
            value: Spread::of(&figure.samples)?,
            ratio,
            extra: figure.extra.clone(),
            promises: figure.targets().map(|target| promise(figure, target, all)).collect(),
        })
    };
    let mut figures: Vec<Measured> = group.iter().filter_map(measured).collect();
    figures.sort_by(|a, b| match better {
        Better::Higher => b.value.median.total_cmp(&a.value.median),
        Better::Lower => a.value.median.total_cmp(&b.value.median),
    });
    Suite { id, unit, better, figures }
}

/// Judges one promise. What can't be judged, since the other contender wasn't measured, isn't kept.
fn promise(figure: &Figure, target: &Target, all: &[Vec<Figure>]) -> Promise {
    let text = words(figure, target);
    let missing = |what: String| Promise {
        text: text.clone(),
        measured: format!("{what} was not measured"),
        met: false,
    };
    let (unit, own) = match &target.of {
        Some(name) => match figure.extra.get(name) {
            Some(value) => (unit_of_extra(name), *value),
            None => return missing(name_of_extra(name)),
        },
        None => (figure.unit, Spread::of(&figure.samples).map_or(f64::NAN, |spread| spread.median)),
    };
    let other = match (&target.against, &target.against_extra) {
        (None, None) => None,
        (None, Some(extra)) => match figure.extra.get(extra) {
            Some(value) => Some((*value, None)),
            None => return missing(name_of_extra(extra)),
        },
        (Some(name), _) => {
            let suite = target.against_suite.as_ref().unwrap_or(&figure.suite);
            let found = all
                .iter()
                .flatten()
                .find(|other| other.name == *name && other.suite == *suite && other.unit == figure.unit);
            let Some(found) = found else { return missing(name.clone()) };
            match target.against_extra.as_ref().or(target.of.as_ref()) {
                Some(extra) => match found.extra.get(extra) {
                    Some(value) => Some((*value, None)),
                    None => return missing(format!("{} of {name}", name_of_extra(extra))),
                },
                None => Spread::of(&found.samples).map(|spread| (spread.median, Some(found))),
            }
        }
    };
    let (value, measured) = match other {
        None => (own, unit.show(own)),
        Some((other, _)) if target.difference => (own - other, unit.show((own - other).max(0.0))),
        Some((other, found)) => {
            // Round by round, as the ratio of the table is.
            let ratio = found
                .and_then(|found| {
                    Spread::ratio(&figure.samples, &found.samples, Better::Higher, figure.in_turns)
                })
                .map_or(own / other, |ratio| ratio.median);
            (ratio, crate::number::times(ratio))
        }
    };
    let met = target.at_least.is_none_or(|bound| value >= bound)
        && target.at_most.is_none_or(|bound| value <= bound);
    Promise { text, measured, met }
}

/// A promise in words.
fn words(figure: &Figure, target: &Target) -> String {
    let unit = target.of.as_ref().map_or(figure.unit, |name| unit_of_extra(name));
    let divided = (target.against.is_some() || target.against_extra.is_some()) && !target.difference;
    let bound = |value: f64| if divided { crate::number::times(value) } else { unit.show(value) };
    let mut words = target.of.as_ref().map(|name| name_of_extra(name) + " ").unwrap_or_default();
    if target.difference {
        words.push_str("adds ");
    }
    let bounds = [("at least", target.at_least), ("at most", target.at_most)];
    let bounds: Vec<String> =
        bounds.into_iter().filter_map(|(word, value)| Some(format!("{word} {}", bound(value?)))).collect();
    words.push_str(&bounds.join(" and "));
    let joint = if target.difference { " to " } else { " of " };
    if let Some(suite) = &target.against_suite {
        words = format!("{words}{joint}{}", catalogue::title(suite));
    } else if let Some(name) = &target.against {
        words = format!("{words}{joint}{name}");
    } else if let Some(extra) = &target.against_extra {
        words = format!("{words}{joint}its {}", name_of_extra(extra));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::Figures;

    fn report(lines: &str) -> Report {
        let read = Figures::read(lines);
        assert_eq!(read.problems, [""; 0]);
        Report::new(Run::default(), Machine::default(), [].into(), read.figures)
    }

    const THREE: &str = r#"
        {"suite":"e5/p","name":"slow","unit":"tokens/s","better":"higher","samples":[1000,900,1100],"role":"rival","baseline":true}
        {"suite":"e5/p","name":"fast","unit":"tokens/s","better":"higher","samples":[17000,15300,18700],"role":"ours","extra":{"cosine_min":0.996,"p50_ms":2,"p99_ms":8},
         "targets":[{"against":"slow","at_least":15},{"of":"cosine_min","at_least":0.995},{"of":"p99_ms","against_extra":"p50_ms","at_most":3},{"against":"absent","at_least":1}]}
        {"suite":"e5/p","name":"wall","unit":"tokens/s","better":"higher","samples":[40000,40000,40000],"role":"limit"}"#;

    #[test]
    fn figures_are_put_in_order_and_divided_by_the_baseline_round_by_round() {
        let report = report(&THREE.replace(",\n         \"targets\"", ",\"targets\""));
        let suite = report.suite("e5/p").unwrap();
        let names: Vec<&str> = suite.figures.iter().map(|figure| figure.name.as_str()).collect();
        assert_eq!(names, ["wall", "fast", "slow"]);
        let fast = &suite.figures[1];
        assert_eq!(fast.ratio, Some(Spread { median: 17.0, low: 17.0, high: 17.0 }));
        assert_eq!(fast.value, Spread { median: 17000.0, low: 15300.0, high: 18700.0 });
        assert!(suite.figures[2].baseline && suite.figures[2].ratio.is_none());
    }

    #[test]
    fn promises_are_judged_and_said_in_words() {
        let report = report(&THREE.replace(",\n         \"targets\"", ",\"targets\""));
        let promises: Vec<_> =
            report.promises().map(|(_, _, p)| (p.text.as_str(), p.measured.as_str(), p.met)).collect();
        assert_eq!(
            promises,
            [
                ("at least ×15.0 of slow", "×17.0", true),
                ("cosine min at least 0.99500", "0.99600", true),
                ("p99 at most ×3.00 of its p50", "×4.00", false),
                ("at least ×1.00 of absent", "absent was not measured", false),
            ]
        );
    }

    #[test]
    fn what_a_thing_adds_is_a_difference() {
        let report = report(
            r#"{"suite":"router/x","name":"bare","unit":"ns","better":"lower","samples":[1000],"role":"limit","baseline":true}
               {"suite":"router/x","name":"ours","unit":"ns","better":"lower","samples":[3500],"role":"ours","target":{"against":"bare","difference":true,"at_most":3000}}"#,
        );
        let (_, figure, promise) = report.promises().next().unwrap();
        assert_eq!(
            (promise.text.as_str(), promise.measured.as_str()),
            ("adds at most 3.00 µs to bare", "2.50 µs")
        );
        assert!(promise.met);
        let ratio = figure.ratio.unwrap().median;
        assert!((ratio - 1.0 / 3.5).abs() < 1e-12, "{ratio}");
    }

    #[test]
    fn another_schema_is_refused_by_name() {
        let error = Report::from_json(r#"{"schema":"embed-bench/0"}"#).unwrap_err().to_string();
        assert!(error.contains("embed-bench/0") && error.contains(SCHEMA), "{error}");
        assert!(Report::from_json("[]").is_err());
    }

    #[test]
    fn json_comes_back_as_it_went() {
        let report = report(&THREE.replace(",\n         \"targets\"", ",\"targets\""));
        let text = serde_json::to_string_pretty(&report).unwrap();
        assert_eq!(Report::from_json(&text).unwrap(), report);
    }
}
