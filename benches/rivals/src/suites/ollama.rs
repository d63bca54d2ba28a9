//! Clients of a real Ollama server, and what the server itself can do.

use std::process::Command;

use anyhow::Result;
use embed_rivals_worker::{Order, Texts};
use embed_testkit::ollama::rig::{RIG_VARIABLE, RealServer};

use super::Field;
use super::e5::{cosines, figure, percentiles};
use crate::bench::Bench;
use crate::report::{Party, Report, Target, Unit, percentile};
use crate::workloads::Workload;

const SUITE: &str = "ollama/texts";
const VERSION: &str = "0.5.4";
const OURS: &str = "embed-ollama";
const LIMIT: &str = "the server itself";
const SEQUENTIAL: &str = "reqwest, sequential";

/// Measures against the server of the rig, or the one that `OLLAMA_HOST` names.
pub(crate) fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    let servers = match servers(bench) {
        Ok(servers) => servers,
        Err(reason) => return report.skipped(SUITE, "every client of Ollama", &reason),
    };
    let Some(url) = servers.urls.first() else { return Ok(()) };
    let mut field = Field::default();
    let direct = |kind| bench.own_worker(&["ollama-direct", kind, url]);
    field.enter(report, SUITE, (OURS, Party::Ours), bench.own_worker(&["ollama", url]))?;
    field.enter(report, SUITE, (LIMIT, Party::Limit), direct("limit"))?;
    field.enter(report, SUITE, (SEQUENTIAL, Party::Rival), direct("sequential"))?;
    field.enter(report, SUITE, ("reqwest, unlimited", Party::Rival), direct("unlimited"))?;
    let foreign = bench.foreign().map(|program| {
        let mut command = Command::new(program);
        command.args(["ollama-rs", url]);
        command
    });
    field.enter(report, SUITE, ("ollama-rs", Party::Rival), foreign)?;
    if servers.urls.len() > 1 {
        let arguments: Vec<&str> =
            ["ollama"].into_iter().chain(servers.urls.iter().map(String::as_str)).collect();
        field.enter(
            report,
            SUITE,
            ("embed-ollama, two servers", Party::Ours),
            bench.own_worker(&arguments),
        )?;
    }

    let taken = bench.workloads.take(Workload::English, bench.size.pick(200, 40, 2), &bench.run)?;
    let texts = Texts { texts: taken.path.clone(), role: taken.role };
    // Servers of this version can mix up texts that they work on at once: the unlimited client shows it.
    let cosines = cosines(bench, report, &mut field, (SUITE, &taken), SEQUENTIAL)?;
    let runs = field.race(report, SUITE, bench.size.rounds(), |_| true, &Order::Batch(texts))?;
    let figures = runs.iter().map(|run| {
        let mut figure = figure(run, run.seconds().map(|seconds| taken.texts as f64 / seconds).collect());
        if let Some((least, mean)) = cosines.get(&figure.name) {
            figure.extra.extend([("cosine_min", *least), ("cosine_mean", *mean)]);
        }
        if figure.name == OURS {
            figure.targets = vec![Target::at_least(LIMIT, 0.97)];
        }
        figure
    });
    let figures = figures.collect();
    report.suite(SUITE, Unit::higher("texts/s"), &[SEQUENTIAL], figures)?;

    let suite = "ollama/query-p95";
    let taken = bench.workloads.take(Workload::Queries, bench.size.pick(200, 40, 2), &bench.run)?;
    let order = Order::Calls { texts: Texts { texts: taken.path.clone(), role: taken.role }, callers: 1 };
    let one_server = |entrant: &super::Entrant| !entrant.name.contains("two servers");
    let runs = field.race(report, suite, bench.size.rounds(), one_server, &order)?;
    let figures = runs.iter().map(|run| {
        let p95 = |answer: &embed_rivals_worker::Answer| percentile(&answer.latencies_ms, 0.95);
        let mut figure = figure(run, run.answers.iter().map(p95).collect());
        figure.extra.extend(percentiles(run));
        if figure.name == OURS {
            figure.targets = vec![Target::at_most("promised", 1.0)];
        }
        figure
    });
    let promised = crate::report::Figure::new("promised", Party::Limit, vec![50.0; bench.size.rounds()]);
    let figures = figures.chain([promised]).collect();
    report.suite(suite, Unit::lower("ms"), &[SEQUENTIAL], figures)
}

/// Servers that are up, and end with this if it started them.
struct Servers {
    urls: Vec<String>,
    _started: Vec<RealServer>,
}

fn servers(bench: &Bench) -> Result<Servers, String> {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    if set(RIG_VARIABLE).is_some() {
        let count = bench.size.pick(2, 2, 1);
        let started: Vec<_> = (0..count).map(|_| RealServer::start(VERSION)).collect::<Result<_, _>>()?;
        return Ok(Servers {
            urls: started.iter().map(|server| server.url().to_owned()).collect(),
            _started: started,
        });
    }
    match set("OLLAMA_HOST") {
        Some(host) if host.contains("://") => Ok(Servers { urls: vec![host], _started: Vec::new() }),
        Some(host) => Ok(Servers { urls: vec![format!("http://{host}")], _started: Vec::new() }),
        None => Err(format!("neither {RIG_VARIABLE} nor OLLAMA_HOST says where a server is")),
    }
}
