//! The part of README.md that says how fast it is: a table for each kind of processor that was measured, between two
//! markers.

use anyhow::{Context, Result, ensure};

use crate::figure::{Role, Unit};
use crate::kept::{COLUMNS, COSINES, Kept};
use crate::number::times;

/// The line after which the generated part begins.
pub const BEGIN: &str = "<!-- bench:begin -->";
/// The line with which it ends.
pub const END: &str = "<!-- bench:end -->";

/// The text of a README with its generated part made anew of all that is kept. `picture` is a plot: what it shows, and its
/// address.
///
/// # Errors
///
/// If the markers aren't there.
pub fn renew(readme: &str, kept: &[Kept], picture: (&str, &str)) -> Result<String> {
    let begin = readme.find(BEGIN).with_context(|| format!("README.md has no line `{BEGIN}`"))?;
    let end = readme.find(END).with_context(|| format!("README.md has no line `{END}`"))?;
    ensure!(begin < end, "README.md has `{END}` before `{BEGIN}`");
    let (alt, address) = picture;
    let tables: String = kept.iter().map(table).collect();
    let part = format!(
        "![{alt}]({address})\n\n{tables}\
         `cargo xtask bench` measures it on yours, `cargo xtask bench readme` writes this part;\n\
         [docs/benchmarks.md](docs/benchmarks.md) says how to read it.\n"
    );
    Ok(format!("{}{BEGIN}\n{part}{}", &readme[..begin], &readme[end..]))
}

/// The heading of a processor, its table, and where the figures come from.
fn table(kept: &Kept) -> String {
    let kernels = if kept.kernels.is_empty() { String::new() } else { format!(", kernels {}", kept.kernels) };
    let mut text = format!("### {}{kernels}\n\n| |", kept.processor);
    let cosines: Vec<&str> = COSINES
        .into_iter()
        .filter(|name| kept.rows.iter().any(|row| row.cosines.contains_key(*name)))
        .collect();
    let columns: Vec<_> =
        COLUMNS.iter().filter(|(id, ..)| kept.rows.iter().any(|row| row.medians.contains_key(*id))).collect();
    for (at, (_, _, title)) in columns.iter().enumerate() {
        text += &format!(" {title} |");
        if at == 0 {
            text += &format!(" × {} |", kept.baseline);
        }
    }
    for name in &cosines {
        text += &format!(" {} cosine |", if name.ends_with("min") { "smallest" } else { "mean" });
    }
    text += &format!("\n|---|{}\n", "--:|".repeat(columns.len() + 1 + cosines.len()));
    let headline = COLUMNS[0].0;
    let baseline = kept.rows.iter().find(|row| row.name == kept.baseline);
    let baseline = baseline.and_then(|row| row.medians.get(headline));
    for row in &kept.rows {
        text += &match row.role {
            Role::Ours => format!("| **{}** |", row.name),
            Role::Rival => format!("| {} |", row.name),
            Role::Limit => format!("| *limit: {}* |", row.name),
        };
        for (at, (id, unit, _)) in columns.iter().enumerate() {
            let median = row.medians.get(*id);
            text += &format!(" {} |", median.map(|median| cell(*unit, *median)).unwrap_or_default());
            if at == 0 {
                let ratio = median.zip(baseline).map(|(median, baseline)| times(median / baseline));
                text += &format!(" {} |", ratio.unwrap_or_default().replace('×', ""));
            }
        }
        for name in &cosines {
            let cosine = row.cosines.get(*name).map(|cosine| format!("{cosine:.4}"));
            text += &format!(" {} |", cosine.unwrap_or_default());
        }
        text.push('\n');
    }
    text + &format!(
        "\nMedians of one run{} on {} cores of an {} ({}, commit {}), all contenders in turns.\n\n",
        if kept.quick { ", a quick one," } else { "" },
        kept.cores,
        kept.cpu,
        kept.date.split('T').next().unwrap_or_default(),
        kept.commit,
    )
}

/// A number; the heading says the unit of all but times.
fn cell(unit: Unit, value: f64) -> String {
    let shown = unit.show(value);
    match unit {
        Unit::Milliseconds => shown,
        _ => shown.split(' ').next().unwrap_or_default().to_owned(),
    }
}
