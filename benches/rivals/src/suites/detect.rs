//! Detection of languages, ours beside what others offer. All run in one process of `benches/foreign`.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::bench::Bench;
use crate::report::{Figure, Party, Report, Unit};
use crate::workloads::Workload;

#[derive(Deserialize)]
struct Measured {
    name: String,
    micros: Vec<f64>,
    correct_percent: f64,
    supported_percent: f64,
}

/// Measures articles in 15 languages, and short queries in two.
pub(crate) fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    for (suite, workload) in [("detect/articles", Workload::Languages), ("detect/queries", Workload::Queries)]
    {
        let taken = bench.workloads.take(workload, bench.size.texts(450), &bench.run)?;
        let measured = bench.foreign().and_then(|program| {
            let mut command = Command::new(program);
            command.arg("detect").arg(&taken.path).arg(bench.size.pick(10, 3, 1).to_string());
            let output = command.output().context("the detectors don't start")?;
            ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
            let lines = String::from_utf8(output.stdout)?;
            lines.lines().map(|line| Ok(serde_json::from_str(line)?)).collect::<Result<Vec<Measured>>>()
        });
        let measured = match measured {
            Ok(measured) => measured,
            Err(error) => {
                report.skipped(suite, "whatlang, whichlang, lingua", &format!("{error:#}"))?;
                continue;
            }
        };
        let figures = measured.into_iter().map(|measured| {
            let party = if measured.name.starts_with("embed-") { Party::Ours } else { Party::Rival };
            let mut figure = Figure::new(&measured.name, party, measured.micros);
            let percents = [
                ("correct_percent", measured.correct_percent),
                ("answered_percent", measured.supported_percent),
            ];
            figure.extra.extend(percents);
            figure
        });
        report.suite(suite, Unit::lower("us"), &["whatlang"], figures.collect())?;
    }
    Ok(())
}
