//! The figures: JSON lines for `cargo xtask bench`, and a table for whoever watches.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;

use anyhow::{Context, Result};
use serde::Serialize;

/// Names the file that figures are appended to.
const OUT_VARIABLE: &str = "EMBED_BENCH_OUT";

/// On which side a contender stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Party {
    /// This workspace.
    Ours,
    /// What a user could pick instead.
    Rival,
    /// What no contender can pass, or what was promised.
    Limit,
}

/// A ratio that was promised.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Target {
    against: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    at_least: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at_most: Option<f64>,
}

impl Target {
    /// At least so many times the figure of `against`.
    pub(crate) fn at_least(against: &str, ratio: f64) -> Self {
        Self { against: against.to_owned(), at_least: Some(ratio), at_most: None }
    }

    /// At most so many times the figure of `against`.
    pub(crate) fn at_most(against: &str, ratio: f64) -> Self {
        Self { against: against.to_owned(), at_least: None, at_most: Some(ratio) }
    }
}

/// What all figures of a suite have in common.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unit {
    unit: &'static str,
    better: &'static str,
}

impl Unit {
    /// More is better.
    pub(crate) const fn higher(unit: &'static str) -> Self {
        Self { unit, better: "higher" }
    }

    /// Less is better.
    pub(crate) const fn lower(unit: &'static str) -> Self {
        Self { unit, better: "lower" }
    }
}

/// What one contender did in a suite.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Figure {
    pub(crate) name: String,
    pub(crate) role: Party,
    pub(crate) samples: Vec<f64>,
    pub(crate) baseline: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) note: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) extra: BTreeMap<&'static str, f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) targets: Vec<Target>,
}

impl Figure {
    pub(crate) fn new(name: &str, role: Party, samples: Vec<f64>) -> Self {
        let (extra, targets) = (BTreeMap::new(), Vec::new());
        Self { name: name.to_owned(), role, samples, baseline: false, note: String::new(), extra, targets }
    }

    /// The number in the middle.
    pub(crate) fn median(&self) -> f64 {
        median(&self.samples)
    }
}

/// The number in the middle, of an even count the mean of both.
pub(crate) fn median(samples: &[f64]) -> f64 {
    percentile(samples, 0.5)
}

/// The number below which such a share of the samples lies.
pub(crate) fn percentile(samples: &[f64], share: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = share * sorted.len().saturating_sub(1) as f64;
    let number = |index: f64| sorted.get(index as usize).copied().unwrap_or(f64::NAN);
    let (below, above) = (number(at.floor()), number(at.ceil()));
    below + (above - below) * at.fract()
}

/// Where figures go.
pub(crate) struct Report {
    out: Option<File>,
}

impl Report {
    /// Appends to the file that `EMBED_BENCH_OUT` names, if it names one.
    pub(crate) fn open() -> Result<Self> {
        let path = std::env::var_os(OUT_VARIABLE).filter(|path| !path.is_empty());
        let open = |path| OpenOptions::new().create(true).append(true).open(path);
        Ok(Self { out: path.map(open).transpose().with_context(|| format!("the file of {OUT_VARIABLE}"))? })
    }

    /// Writes a suite. Its baseline is the first of `baselines` that was measured; failing all, the first rival.
    pub(crate) fn suite(
        &mut self,
        suite: &str,
        unit: Unit,
        baselines: &[&str],
        mut figures: Vec<Figure>,
    ) -> Result<()> {
        let measured = |name: &&str| figures.iter().position(|figure| figure.name == **name);
        let rival = || figures.iter().position(|figure| figure.role == Party::Rival);
        let baseline = baselines.iter().find_map(measured).or_else(rival).unwrap_or(0);
        let Some(figure) = figures.get_mut(baseline) else { return Ok(()) };
        figure.baseline = true;
        let base = figure.median();
        println!("\n{suite} ({}, {} is better)", unit.unit, unit.better);
        // A promise against a contender that was skipped can't be judged.
        let names: Vec<String> = figures.iter().map(|figure| figure.name.clone()).collect();
        for figure in &mut figures {
            figure.targets.retain(|target| names.contains(&target.against));
            println!(
                "  {:<36} {:>12.3} {:>8.2}x  {} {}",
                figure.name,
                figure.median(),
                figure.median() / base,
                figure.note,
                extras(figure)
            );
            self.line(&Line { suite, unit: unit.unit, better: unit.better, figure })?;
        }
        Ok(())
    }

    /// Writes that a contender isn't there, and why.
    pub(crate) fn skipped(&mut self, suite: &str, name: &str, reason: &str) -> Result<()> {
        #[derive(Serialize)]
        struct Skipped<'a> {
            suite: &'a str,
            skipped: &'a str,
            why: &'a str,
        }
        eprintln!("SKIPPED, {suite}: {name}: {reason}");
        self.line(&Skipped { suite, skipped: name, why: reason })
    }

    /// Writes something that a reader should know of the run.
    pub(crate) fn fact(&mut self, name: &str, value: &str) -> Result<()> {
        #[derive(Serialize)]
        struct Fact<'a> {
            fact: &'a str,
            value: &'a str,
        }
        println!("{name}: {value}");
        self.line(&Fact { fact: name, value })
    }

    fn line(&mut self, line: &impl Serialize) -> Result<()> {
        let Some(out) = &mut self.out else { return Ok(()) };
        let mut line = serde_json::to_vec(line)?;
        line.push(b'\n');
        Ok(out.write_all(&line)?)
    }
}

#[derive(Serialize)]
struct Line<'a> {
    suite: &'a str,
    unit: &'a str,
    better: &'a str,
    #[serde(flatten)]
    figure: &'a Figure,
}

fn extras(figure: &Figure) -> String {
    figure.extra.iter().map(|(name, number)| format!("{name}={number:.4} ")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_lie_between_samples() {
        let samples = [4.0, 1.0, 3.0, 2.0];
        assert_eq!(median(&samples), 2.5);
        assert_eq!(percentile(&samples, 1.0), 4.0);
        assert_eq!(percentile(&samples, 0.0), 1.0);
        assert!(median(&[]).is_nan());
    }
}
