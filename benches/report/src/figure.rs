//! What a measuring program says: one figure a line, as JSON, and what it could not measure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a contender measured, round by round.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Figure {
    /// The group of figures that may be compared with each other, such as `e5/paragraphs`.
    pub suite: String,
    /// The contender.
    pub name: String,
    /// What the samples are counted in.
    pub unit: Unit,
    /// Which way is good.
    pub better: Better,
    /// One number for each round.
    pub samples: Vec<f64>,
    /// Whose it is.
    pub role: Role,
    /// Whether the others of the suite are compared with this one.
    #[serde(default)]
    pub baseline: bool,
    /// How it was set up.
    pub note: Option<String>,
    /// Further numbers of the same contender, such as `p95_ms` or `cosine_min`.
    #[serde(default)]
    pub extra: BTreeMap<String, f64>,
    /// A promise.
    pub target: Option<Target>,
    /// Further promises.
    #[serde(default)]
    pub targets: Vec<Target>,
    /// Whether the samples of the suite were taken in turns, so that a ratio can be made for each round.
    #[serde(skip, default = "in_turns")]
    pub in_turns: bool,
}

fn in_turns() -> bool {
    true
}

/// What a sample is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unit {
    /// Tokens a second.
    #[serde(rename = "tokens/s")]
    Tokens,
    /// Texts a second.
    #[serde(rename = "texts/s")]
    Texts,
    /// Requests a second.
    #[serde(rename = "requests/s")]
    Requests,
    /// Seconds.
    #[serde(rename = "s")]
    Seconds,
    /// Thousandths of a second.
    #[serde(rename = "ms")]
    Milliseconds,
    /// Millionths of a second.
    #[serde(rename = "us")]
    Microseconds,
    /// Billionths of a second.
    #[serde(rename = "ns")]
    Nanoseconds,
    /// Millions of bytes.
    #[serde(rename = "MB")]
    Megabytes,
    /// The cosine between two vectors.
    #[serde(rename = "cosine")]
    Cosine,
    /// Hundredths.
    #[serde(rename = "percent")]
    Percent,
    /// A number without a unit.
    #[serde(rename = "ratio")]
    Ratio,
}

/// Which way is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// As with a throughput.
    Higher,
    /// As with a time.
    Lower,
}

/// Whose figure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Of this workspace.
    Ours,
    /// What a user could take instead.
    Rival,
    /// What nothing of the kind can pass: a bare multiplication, a bare server.
    Limit,
}

/// What was promised about a figure: a bound on its value, or on the ratio to another contender's.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// The contender whose value is divided by; without one the bound is one on the value itself.
    pub against: Option<String>,
    /// The suite of that contender, if it isn't the same.
    pub against_suite: Option<String>,
    /// Another number of the same contender to divide by, such as `p50_ms`.
    pub against_extra: Option<String>,
    /// Which number is meant, such as `p95_ms`; without a name, the median.
    pub of: Option<String>,
    /// Whether the other value is taken away instead of divided by: what something adds.
    #[serde(default)]
    pub difference: bool,
    /// The smallest that is good.
    pub at_least: Option<f64>,
    /// The largest that is good.
    pub at_most: Option<f64>,
}

/// What a run did not measure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// The suite that lacks it, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suite: Option<String>,
    /// What is missing.
    #[serde(rename = "skipped")]
    pub what: String,
    /// The reason.
    pub why: String,
}

#[derive(Deserialize)]
struct Fact {
    fact: String,
    value: String,
}

/// What was read from the lines of one file.
#[derive(Debug, Default)]
pub struct Figures {
    /// In the order of the lines.
    pub figures: Vec<Figure>,
    /// In the order of the lines.
    pub skipped: Vec<Skipped>,
    /// What a reader should know of the run, by name; of two of one name the later stands.
    pub facts: BTreeMap<String, String>,
    /// A sentence for each line that isn't what it should be.
    pub problems: Vec<String>,
}

impl Figures {
    /// Reads JSON lines. A line that can't be read is a problem of its own, and the others stand.
    #[must_use]
    pub fn read(text: &str) -> Self {
        let mut read = Self::default();
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        for (index, line) in lines {
            if let Err(problem) = read.add(line) {
                read.problems.push(format!("line {} of the figures can't be used: {problem}", index + 1));
            }
        }
        read
    }

    fn add(&mut self, line: &str) -> Result<(), String> {
        let value: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
        if value.get("skipped").is_some() {
            self.skipped.push(serde_json::from_value(value).map_err(|error| error.to_string())?);
            return Ok(());
        }
        if value.get("fact").is_some() {
            let Fact { fact, value } = serde_json::from_value(value).map_err(|error| error.to_string())?;
            self.facts.insert(fact, value);
            return Ok(());
        }
        let figure: Figure = serde_json::from_value(value).map_err(|error| error.to_string())?;
        let Figure { suite, name, samples, .. } = &figure;
        if suite.is_empty() || name.is_empty() {
            return Err("`suite` and `name` must not be empty".to_owned());
        }
        if samples.is_empty() || samples.iter().any(|sample| !sample.is_finite() || *sample < 0.0) {
            return Err(format!("the samples of `{name}` in `{suite}` are no finite numbers from 0 up"));
        }
        if figure.targets().any(|target| target.at_least.is_none() && target.at_most.is_none()) {
            return Err(format!("a target of `{name}` in `{suite}` has neither `at_least` nor `at_most`"));
        }
        self.figures.push(figure);
        Ok(())
    }
}

impl Figure {
    /// All promises.
    pub fn targets(&self) -> impl Iterator<Item = &Target> {
        self.target.iter().chain(&self.targets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_figure() {
        let read = Figures::read(
            r#"
            {"suite":"e5/paragraphs","name":"ours","unit":"tokens/s","better":"higher","samples":[1.0,2.0],"role":"ours","target":{"against":"x","at_least":15}}
            {"fact":"kernels","value":"avx2"}
            {"suite":"e5/paragraphs","skipped":"OpenVINO","why":"no wheel"}"#,
        );
        assert_eq!(read.problems, [""; 0]);
        assert_eq!(read.facts["kernels"], "avx2");
        let figure = &read.figures[0];
        assert_eq!((figure.unit, figure.role, figure.baseline), (Unit::Tokens, Role::Ours, false));
        assert!(figure.in_turns);
        assert_eq!(figure.targets().count(), 1);
        assert_eq!(read.skipped[0].what, "OpenVINO");
    }

    #[test]
    fn a_bad_line_is_named_and_the_others_stand() {
        let good = r#"{"suite":"a","name":"b","unit":"s","better":"lower","samples":[1],"role":"rival"}"#;
        for bad in [
            "{",
            r#"{"suite":"a","name":"b","unit":"furlongs","better":"lower","samples":[1],"role":"rival"}"#,
            r#"{"suite":"a","name":"b","unit":"s","better":"lower","samples":[],"role":"rival"}"#,
            r#"{"suite":"a","name":"b","unit":"s","better":"lower","samples":[-1],"role":"rival"}"#,
            r#"{"suite":"a","name":"b","unit":"s","better":"lower","samples":[1],"role":"ours","target":{}}"#,
        ] {
            let read = Figures::read(&format!("{good}\n{bad}\n{good}"));
            assert_eq!(read.figures.len(), 2, "{bad}");
            assert!(read.problems[0].starts_with("line 2 "), "{:?}", read.problems);
        }
    }
}
