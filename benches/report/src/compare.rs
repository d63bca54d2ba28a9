//! Two reports side by side: what of ours got slower or faster, beyond noise.
//!
//! What is compared are ratios against the baseline of the same run, so that a busy machine, which slows both, doesn't
//! count. A change is one beyond noise if the spreads of the two ratios don't overlap and their medians differ by a
//! twentieth or more.

use crate::figure::Role;
use crate::number::times;
use crate::report::{Measured, Report, Suite};
use crate::terminal::table;

/// The smallest change that counts: two runs of the same program on a quiet machine differ by a few percent.
const NOISE: f64 = 0.05;

/// What became of one figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Worse, beyond noise.
    Slower,
    /// Better, beyond noise.
    Faster,
    /// The same, or within noise.
    Same,
}

/// One figure of ours in both reports.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The suite.
    pub suite: String,
    /// The contender.
    pub name: String,
    /// The ratio against the baseline, before.
    pub before: f64,
    /// The same, after.
    pub after: f64,
    /// What that means.
    pub verdict: Verdict,
}

/// Two reports, compared.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Comparison {
    /// What the reader must know first: other machines, other commits with changes, quick runs.
    pub warnings: Vec<String>,
    /// In the order of the later report.
    pub changes: Vec<Change>,
    /// Figures of ours with a ratio that only the earlier report has.
    pub gone: Vec<String>,
    /// Figures of ours with a ratio that only the later report has.
    pub new: Vec<String>,
}

/// Compares what both reports have.
#[must_use]
pub fn compare(before: &Report, after: &Report) -> Comparison {
    let mut comparison = Comparison { warnings: warnings(before, after), ..Comparison::default() };
    for (suite, figure) in judged(after) {
        let shown = format!("{}, {}", suite.id, figure.name);
        let old_suite = before.suite(&suite.id);
        let old = old_suite.and_then(|old| old.figures.iter().find(|old| old.name == figure.name));
        let (Some(old_suite), Some(old), Some(new)) =
            (old_suite, old.and_then(|old| old.ratio), figure.ratio)
        else {
            comparison.new.push(shown);
            continue;
        };
        let baseline = |suite: &Suite| suite.baseline().map(|baseline| baseline.name.clone());
        if baseline(old_suite) != baseline(suite) {
            comparison.warnings.push(format!("{shown}: the baseline is another one, so it isn't compared"));
            continue;
        }
        let verdict = if new.high < old.low && new.median < old.median * (1.0 - NOISE) {
            Verdict::Slower
        } else if new.low > old.high && new.median > old.median * (1.0 + NOISE) {
            Verdict::Faster
        } else {
            Verdict::Same
        };
        let change = Change {
            suite: suite.id.clone(),
            name: figure.name.clone(),
            before: old.median,
            after: new.median,
            verdict,
        };
        comparison.changes.push(change);
    }
    let still = |suite: &Suite, figure: &Measured| {
        judged(after).any(|(other, there)| other.id == suite.id && there.name == figure.name)
    };
    comparison.gone = judged(before)
        .filter(|(suite, figure)| !still(suite, figure))
        .map(|(suite, figure)| format!("{}, {}", suite.id, figure.name))
        .collect();
    comparison
}

/// Figures that a change of ours can move: ours, with a ratio.
fn judged(report: &Report) -> impl Iterator<Item = (&Suite, &Measured)> {
    report.suites.iter().flat_map(|suite| {
        let ours = suite.figures.iter().filter(|figure| figure.role == Role::Ours && figure.ratio.is_some());
        ours.map(move |figure| (suite, figure))
    })
}

fn warnings(before: &Report, after: &Report) -> Vec<String> {
    let mut warnings = Vec::new();
    let (old, new) = (&before.machine, &after.machine);
    if (&old.cpu, old.cores, &old.flags) != (&new.cpu, new.cores, &new.flags) {
        warnings.push(format!(
            "the machines differ ({}, {} cores; {}, {} cores): ratios move with the processor, too",
            old.cpu, old.cores, new.cpu, new.cores
        ));
    }
    for (word, report) in [("first", before), ("second", after)] {
        if report.run.quick {
            warnings.push(format!("the {word} report is of a quick run: its figures are rough"));
        }
    }
    warnings
}

impl Comparison {
    /// Whether anything got slower beyond noise.
    #[must_use]
    pub fn is_slower(&self) -> bool {
        self.changes.iter().any(|change| change.verdict == Verdict::Slower)
    }

    /// The comparison as text: what changed beyond noise, and how much didn't.
    #[must_use]
    pub fn show(&self) -> String {
        let mut text = String::new();
        for warning in &self.warnings {
            text += &format!("note: {warning}\n");
        }
        let mut changed: Vec<&Change> =
            self.changes.iter().filter(|change| change.verdict != Verdict::Same).collect();
        changed.sort_by(|a, b| (a.after / a.before).total_cmp(&(b.after / b.before)));
        if !changed.is_empty() {
            let mut table = table(["", "suite", "name", "× before", "× after", "change"]);
            for change in &changed {
                let word = if change.verdict == Verdict::Slower { "slower" } else { "faster" };
                let percent = (change.after / change.before - 1.0) * 100.0;
                table.add_row([
                    word.to_owned(),
                    change.suite.clone(),
                    change.name.clone(),
                    times(change.before),
                    times(change.after),
                    format!("{percent:+.1} %"),
                ]);
            }
            text += &format!("{table}\n");
        }
        for (word, names) in
            [("only in the first report", &self.gone), ("only in the second report", &self.new)]
        {
            for name in names {
                text += &format!("{word}: {name}\n");
            }
        }
        let count = |verdict| self.changes.iter().filter(|change| change.verdict == verdict).count();
        let (slower, faster) = (count(Verdict::Slower), count(Verdict::Faster));
        text + &format!("{slower} slower, {faster} faster, {} within noise\n", count(Verdict::Same))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::{Machine, Run};
    use crate::figure::Figures;

    /// A run in which the rival makes `base` and we make `ours`.
    fn report(base: [f64; 3], ours: [f64; 3]) -> Report {
        let line = |name: &str, role: &str, baseline: bool, samples: [f64; 3]| {
            format!(
                r#"{{"suite":"e5/p","name":"{name}","unit":"ms","better":"lower","samples":{samples:?},"role":"{role}","baseline":{baseline}}}"#
            )
        };
        let lines = line("theirs", "rival", true, base) + "\n" + &line("ours", "ours", false, ours);
        let read = Figures::read(&lines);
        assert_eq!(read.problems, [""; 0]);
        Report::new(Run::default(), Machine::default(), [].into(), read.figures)
    }

    fn check(before: &Report, after: &Report, expected: Verdict) {
        let comparison = compare(before, after);
        assert_eq!(comparison.changes.len(), 1);
        assert_eq!(comparison.changes[0].verdict, expected, "{}", comparison.show());
        assert_eq!(comparison.is_slower(), expected == Verdict::Slower);
    }

    #[test]
    fn a_run_on_a_busier_machine_is_the_same() {
        let quiet = report([10.0, 10.1, 9.9], [5.0, 5.0, 5.1]);
        let busy = report([30.0, 60.3, 29.7], [15.0, 30.0, 15.3]);
        check(&quiet, &busy, Verdict::Same);
    }

    #[test]
    fn a_change_beyond_noise_is_seen_both_ways() {
        let before = report([10.0, 10.1, 9.9], [5.0, 5.0, 5.1]);
        let after = report([10.0, 10.1, 9.9], [6.0, 6.0, 6.1]);
        check(&before, &after, Verdict::Slower);
        check(&after, &before, Verdict::Faster);
    }

    #[test]
    fn overlapping_spreads_and_small_changes_are_noise() {
        let before = report([10.0, 10.0, 10.0], [5.0, 4.0, 6.5]);
        let after = report([10.0, 10.0, 10.0], [6.0, 6.0, 6.1]);
        check(&before, &after, Verdict::Same);
        let exact = report([10.0, 10.0, 10.0], [5.0, 5.0, 5.0]);
        let close = report([10.0, 10.0, 10.0], [5.2, 5.2, 5.2]);
        check(&exact, &close, Verdict::Same);
    }

    #[test]
    fn what_came_or_went_and_other_machines_are_said() {
        let before = report([10.0; 3], [5.0; 3]);
        let mut after = before.clone();
        after.suites[0].id = "e5/q".to_owned();
        after.machine.cpu = "another".to_owned();
        let comparison = compare(&before, &after);
        assert_eq!((comparison.gone.len(), comparison.new.len(), comparison.changes.len()), (1, 1, 0));
        assert!(comparison.warnings[0].contains("machines differ"));
        assert!(!comparison.is_slower());
    }
}
