//! Tables for a terminal.

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};

use crate::catalogue::AREAS;
use crate::figure::Role;
use crate::number::times;
use crate::report::{Report, Suite};

/// The short form of a report: one row for each suite, with the best figure of ours in it.
#[must_use]
pub fn summary(report: &Report) -> String {
    let mut table = table(["suite", "ours", "", "× baseline", "baseline", "promises"]);
    for area in AREAS {
        let of_area: Vec<&Suite> =
            report.suites.iter().filter(|suite| crate::catalogue::area(&suite.id).id == area.id).collect();
        let in_family = |suite: &&Suite| area.family.as_ref().is_some_and(|f| suite.id.starts_with(f.prefix));
        let (family, single): (Vec<_>, Vec<_>) = of_area.into_iter().partition(in_family);
        // Of many that are alike the worst one stands for all.
        let ratio =
            |suite: &Suite| suite.best(Role::Ours).and_then(|ours| ours.ratio).map(|ratio| ratio.median);
        let worst = family
            .iter()
            .filter(|suite| ratio(suite).is_some())
            .min_by(|a, b| ratio(a).unwrap_or(f64::NAN).total_cmp(&ratio(b).unwrap_or(f64::NAN)));
        if let Some(worst) = worst {
            let many = if family.len() > 1 { format!(" (worst of {})", family.len()) } else { String::new() };
            table.add_row(row(worst, worst.id.clone() + &many, &family));
        }
        for suite in single {
            table.add_row(row(suite, suite.id.clone(), &[suite]));
        }
    }
    let (met, all) = kept(report.suites.iter());
    let mut text = format!("{table}\n");
    if all > 0 {
        text += &format!("\n{met} of {all} promises kept\n");
    }
    for (suite, figure, promise) in report.promises().filter(|(_, _, promise)| !promise.met) {
        text += &format!(
            "missed: {}, {}: {}, measured {}\n",
            suite.id, figure.name, promise.text, promise.measured
        );
    }
    for (name, value) in &report.facts {
        text += &format!("{name}: {value}\n");
    }
    for skipped in &report.skipped {
        text += &format!("not measured: {}: {}\n", skipped.what, skipped.why);
    }
    for problem in &report.problems {
        text += &format!("problem: {problem}\n");
    }
    text
}

fn row(suite: &Suite, name: String, promised: &[&Suite]) -> Vec<String> {
    let ours = suite.best(Role::Ours);
    let (met, all) = kept(promised.iter().copied());
    let ratio = ours.and_then(|ours| ours.ratio).map(|ratio| times(ratio.median));
    vec![
        name,
        ours.map(|ours| suite.unit.show(ours.value.median)).unwrap_or_default(),
        ours.map(|ours| ours.name.clone()).unwrap_or_default(),
        ratio.unwrap_or_default(),
        suite.baseline().map(|baseline| baseline.name.clone()).unwrap_or_default(),
        if all == 0 { String::new() } else { format!("{met} of {all}") },
    ]
}

fn kept<'s>(suites: impl Iterator<Item = &'s Suite>) -> (usize, usize) {
    let promises = suites.flat_map(|suite| &suite.figures).flat_map(|figure| &figure.promises);
    promises.fold((0, 0), |(met, all), promise| (met + usize::from(promise.met), all + 1))
}

/// A table without lines; numbers are in the columns whose heading begins with a sign of multiplication, and in those
/// called `ours`, `before` and `after`.
#[must_use]
pub(crate) fn table<const N: usize>(heading: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(heading);
    for (index, name) in heading.into_iter().enumerate() {
        if (name.starts_with('×') || ["ours", "before", "after", "change"].contains(&name))
            && let Some(column) = table.column_mut(index)
        {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}
