//! What was measured, as the report reads it: JSON lines in the file that `EMBED_BENCH_OUT` names.

use serde_json::{Map, Value, json};

/// The samples of one contender in one suite, one for each round.
#[derive(Debug)]
pub(crate) struct Figure {
    suite: String,
    name: &'static str,
    unit: &'static str,
    baseline: bool,
    pub(crate) samples: Vec<f64>,
    target: Option<Value>,
    extra: Vec<(&'static str, Vec<f64>)>,
}

impl Figure {
    /// What the others of the suite are compared with.
    pub(crate) fn baseline(suite: &str, name: &'static str, unit: &'static str) -> Self {
        Self {
            suite: suite.to_owned(),
            name,
            unit,
            baseline: true,
            samples: Vec::new(),
            target: None,
            extra: Vec::new(),
        }
    }

    /// What is compared with a baseline: of rates at least this share of it, of times at most so many times it.
    pub(crate) fn against(baseline: &Self, name: &'static str, ratio: Option<f64>) -> Self {
        let bound = if baseline.higher_is_better() { "at_least" } else { "at_most" };
        let target = ratio.map(|ratio| json!({ "against": baseline.name, bound: ratio }));
        Self { name, baseline: false, target, ..Self::baseline(&baseline.suite, name, baseline.unit) }
    }

    /// A further number of this round.
    pub(crate) fn note(&mut self, name: &'static str, value: f64) {
        match self.extra.iter_mut().find(|(known, _)| *known == name) {
            Some((_, values)) => values.push(value),
            None => self.extra.push((name, vec![value])),
        }
    }

    fn higher_is_better(&self) -> bool {
        self.unit.ends_with("/s")
    }

    fn line(&self, note: &str) -> Value {
        let extra: Map<String, Value> =
            self.extra.iter().map(|(name, values)| ((*name).to_owned(), median(values).into())).collect();
        let mut line = json!({
            "suite": self.suite, "name": self.name, "unit": self.unit,
            "better": if self.higher_is_better() { "higher" } else { "lower" },
            "samples": self.samples, "role": if self.name.starts_with("embed serve") { "ours" } else { "limit" },
            "baseline": self.baseline, "note": note, "extra": extra,
        });
        if let Some(target) = &self.target {
            line["target"] = target.clone();
        }
        line
    }
}

/// Prints the figures of a suite, its baseline first, and hands them to the report.
pub(crate) fn report(figures: &[&Figure], note: &str) {
    let baseline = figures[0];
    let mut lines = Vec::new();
    for figure in figures {
        let pairs = figure.samples.iter().zip(&baseline.samples);
        let ratios: Vec<f64> = pairs.map(|(ours, theirs)| ours / theirs).collect();
        let low = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        let high = ratios.iter().copied().fold(0.0, f64::max);
        println!(
            "{:<28} {:<44} {:>10.2} {:<10} {:>6.3} times the first ({low:.3} to {high:.3})",
            figure.suite,
            figure.name,
            median(&figure.samples),
            figure.unit,
            median(&ratios),
        );
        for (name, values) in &figure.extra {
            println!("{:<28} {:<44} {:>10.2} {name}", "", "", median(values));
        }
        lines.push(figure.line(note));
    }
    embed_testkit::figures::append(&lines).unwrap();
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len().is_multiple_of(2) { (sorted[middle - 1] + sorted[middle]) / 2.0 } else { sorted[middle] }
}
