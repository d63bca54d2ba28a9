//! The part of README.md that says how fast it is: made from a report, between two markers.

use anyhow::{Context, Result, ensure};

use crate::figure::Role;
use crate::number::times;
use crate::page;
use crate::report::{Report, Suite};

/// The line after which the generated part begins.
pub const BEGIN: &str = "<!-- bench:begin -->";
/// The line with which it ends.
pub const END: &str = "<!-- bench:end -->";

/// The text of a README with its generated part made anew. `picture` is the address of the plot.
///
/// # Errors
///
/// If the markers aren't there, or if the report has no headline suite.
pub fn renew(readme: &str, report: &Report, picture: &str) -> Result<String> {
    let begin = readme.find(BEGIN).with_context(|| format!("README.md has no line `{BEGIN}`"))?;
    let end = readme.find(END).with_context(|| format!("README.md has no line `{END}`"))?;
    ensure!(begin < end, "README.md has `{END}` before `{BEGIN}`");
    let part = part(report, picture)?;
    Ok(format!("{}{BEGIN}\n{part}{}", &readme[..begin], &readme[end..]))
}

fn part(report: &Report, picture: &str) -> Result<String> {
    let (suite, _) = page::headline(report).with_context(|| {
        format!(
            "the report has no suite `{}`; run `cargo xtask bench` without names",
            crate::catalogue::HEADLINE
        )
    })?;
    let alt = page::headline_title(suite);
    let mut text = format!("![{alt}]({picture})\n\n");
    text += &table(suite);
    let machine = &report.machine;
    let commit: String = report.run.commit.chars().take(10).collect();
    let date = report.run.date.split('T').next().unwrap_or_default();
    text += &format!(
        "\nMedians of one run on {} cores of an {} ({date}, commit {commit}{}), all contenders in turns. \
         `cargo xtask bench` measures\nit on yours, `cargo xtask bench readme` writes this part; \
         [docs/benchmarks.md](docs/benchmarks.md) says how to read it.\n",
        machine.cores,
        machine.cpu,
        if report.run.quick { ", a quick run" } else { "" },
    );
    Ok(text)
}

fn table(suite: &Suite) -> String {
    let cosine = |name: &str| suite.figures.iter().any(|figure| figure.extra.contains_key(name));
    let cosines: Vec<&str> = ["cosine_min", "cosine_mean"].into_iter().filter(|name| cosine(name)).collect();
    let baseline = suite.baseline().map(|baseline| baseline.name.as_str()).unwrap_or_default();
    let mut text = format!("| | {} | × {baseline} |", suite.unit.axis());
    for name in &cosines {
        let word = if name.ends_with("min") { "smallest" } else { "mean" };
        text += &format!(" {word} cosine |");
    }
    text += "\n|---|--:|--:|";
    text += &"--:|".repeat(cosines.len());
    text.push('\n');
    for figure in &suite.figures {
        let name = match figure.role {
            Role::Ours => format!("**{}**", figure.name),
            Role::Rival => figure.name.clone(),
            Role::Limit => format!("*limit: {}*", figure.name),
        };
        let value = suite.unit.show(figure.value.median);
        let value = value.split(' ').next().unwrap_or_default();
        let ratio = figure.ratio.map_or_else(|| "1".to_owned(), |ratio| times(ratio.median).replace('×', ""));
        text += &format!("| {name} | {value} | {ratio} |");
        for name in &cosines {
            let value = figure.extra.get(*name).map(|value| format!("{value:.4}")).unwrap_or_default();
            text += &format!(" {value} |");
        }
        text.push('\n');
    }
    text
}
