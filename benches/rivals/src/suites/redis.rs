//! Clients of Redis, ours beside those that one would use by hand. All run in one process of `benches/foreign`.

use std::process::Command;

use anyhow::{Context, Result, anyhow, ensure};
use embed_testkit::redis::{RedisOptions, RedisServer};
use serde::Deserialize;
use tokio::runtime::Runtime;

use crate::bench::Bench;
use crate::report::{Figure, Party, Report, Unit};

const SUITE: &str = "cache/redis-clients";
const BASELINE: &str = "redis, GETs one after the other";

#[derive(Deserialize)]
struct Measured {
    name: String,
    rows_per_second: Vec<f64>,
}

/// Measures requests of 32 rows that are all there, against a server of its own.
pub(crate) fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    match measured(bench) {
        Err(error) => report.skipped(SUITE, "embed-cache, redis, fred", &format!("{error:#}")),
        Ok(measured) => {
            let figures = measured.into_iter().map(|measured| {
                let ours = measured.name.starts_with("embed-");
                let party = if ours { Party::Ours } else { Party::Rival };
                let mut figure = Figure::new(&measured.name, party, measured.rows_per_second);
                figure.note =
                    "32 rows of 384 numbers a request, one after the other, over loopback".to_owned();
                figure
            });
            report.suite(SUITE, Unit::higher("texts/s"), &[BASELINE], figures.collect())
        }
    }
}

fn measured(bench: &Bench) -> Result<Vec<Measured>> {
    let program = bench.foreign()?;
    let runtime = Runtime::new()?;
    let server = runtime.block_on(RedisServer::start(RedisOptions::default()));
    let server = server.map_err(|error| anyhow!("{error}"))?;
    let (rounds, calls) = (bench.size.pick(10, 3, 1), bench.size.pick(500, 100, 1));
    let mut command = Command::new(program);
    command.args(["redis", &server.url(), &rounds.to_string(), &calls.to_string()]);
    let output = command.output().context("the clients don't start")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
    let lines = String::from_utf8(output.stdout)?;
    lines.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}
