//! Clients of a real Ollama server, and what the server itself can do.

use std::process::Command;

use anyhow::Result;
use embed_encoder::available_threads;
use embed_rivals_worker::{Order, Texts};
use embed_testkit::ollama::rig::{RIG_VARIABLE, RealServer};

use super::e5::{cosines, figure, percentiles};
use crate::bench::Bench;
use crate::contenders;
use crate::field::{Field, Run, WarmUp};
use crate::report::{Figure, Party, Report, Target, Unit, percentile};
use crate::workloads::Workload;

const SUITE: &str = "ollama/texts";
const OWN: &str = "ollama/your-server";
const TWO: &str = "ollama/two-servers";
/// Of the rig: the last one that could mix up texts that it works on at once.
const VERSION: &str = "0.5.4";
const HOST_VARIABLE: &str = "OLLAMA_HOST";
const OURS: &str = "embed-ollama";
const LIMIT: &str = "one request at a time, kept connection";
const SEQUENTIAL: &str = "reqwest, sequential";
const ONE_SERVER: &str = "embed-ollama, one server";

/// Measures against servers of the rig, and beside them against the one that `OLLAMA_HOST` names.
pub(crate) fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    if let Some(host) = set(HOST_VARIABLE)
        && let Err(error) = own_server(bench, report, &host)
    {
        // A server of the user's may be of any kind, and lack the model.
        report.skipped(OWN, "the server that OLLAMA_HOST names", &format!("{error:#}"))?;
    }
    if set(RIG_VARIABLE).is_none() {
        return report.skipped(SUITE, "every client of Ollama", &format!("{RIG_VARIABLE} names no rig"));
    }
    let servers = [(); 2].map(|()| RealServer::start(VERSION));
    let [Ok(first), Ok(second)] = &servers else {
        let reason = servers.iter().find_map(|server| server.as_ref().err()).cloned().unwrap_or_default();
        return report.skipped(SUITE, "every client of Ollama", &reason);
    };
    let version = contenders::server_version(first.url())?;
    let mut field = enter(bench, report, SUITE, first.url())?;
    throughput(bench, report, &mut field, (SUITE, &version))?;
    latency(bench, report, &mut field, &version)?;
    drop(field);
    two_servers(bench, report, [first.url(), second.url()], &version)
}

fn set(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Texts through a server of whoever measures, whatever its version.
fn own_server(bench: &Bench, report: &mut Report, host: &str) -> Result<()> {
    let url = embed_ollama::ollama_host(host)?;
    let version = contenders::server_version(&url)?;
    let mut field = enter(bench, report, OWN, &url)?;
    // One request at a time is what 0.5.4 does best; a later one can do more.
    field.entrants.retain(|entrant| entrant.party != Party::Limit);
    throughput(bench, report, &mut field, (OWN, &version))
}

fn enter(bench: &Bench, report: &mut Report, suite: &str, url: &str) -> Result<Field> {
    let mut field = Field::default();
    let direct = |kind| bench.own_worker(&["ollama-direct", kind, url]);
    field.enter(report, suite, (OURS, Party::Ours), bench.own_worker(&["ollama", url]))?;
    field.enter(report, suite, (LIMIT, Party::Limit), direct("limit"))?;
    field.enter(report, suite, (SEQUENTIAL, Party::Rival), direct("sequential"))?;
    field.enter(report, suite, ("reqwest, unlimited", Party::Rival), direct("unlimited"))?;
    let foreign = bench.foreign().map(|program| {
        let mut command = Command::new(program);
        command.args(["ollama-rs", url]);
        command
    });
    field.enter(report, suite, ("ollama-rs", Party::Rival), foreign)?;
    Ok(field)
}

/// Texts a second, all handed over at once.
fn throughput(
    bench: &Bench,
    report: &mut Report,
    field: &mut Field,
    (suite, version): (&str, &str),
) -> Result<()> {
    let taken = bench.workloads.take(Workload::English, bench.size.texts(32), &bench.run)?;
    // Servers of this version can mix up texts that they work on at once: the unlimited client shows it.
    let cosines = cosines(bench, report, field, (suite, &taken), SEQUENTIAL)?;
    let order = Order::Batch(Texts { texts: taken.path.clone(), role: taken.role });
    let runs = field.race((bench, report), (suite, WarmUp::Done), |_| true, &order)?;
    let figures = runs.iter().map(|run| {
        let mut figure = texts_a_second(run, taken.texts, version);
        if let Some((least, mean)) = cosines.get(&figure.name) {
            figure.extra.extend([("cosine_min", *least), ("cosine_mean", *mean)]);
        }
        if figure.name == OURS {
            figure.targets = vec![Target::at_least(LIMIT, 0.97)];
        }
        figure
    });
    let figures = figures.collect();
    report.suite(suite, Unit::higher("texts/s"), &[SEQUENTIAL], figures)
}

/// Short texts, one at a time.
fn latency(bench: &Bench, report: &mut Report, field: &mut Field, version: &str) -> Result<()> {
    let suite = "ollama/query-p95";
    let taken = bench.workloads.take(Workload::Queries, bench.size.texts(40), &bench.run)?;
    let order = Order::Calls { texts: Texts { texts: taken.path.clone(), role: taken.role }, callers: 1 };
    let runs = field.race((bench, report), (suite, WarmUp::Needed), |_| true, &order)?;
    let rounds = runs.iter().map(|run| run.answers.len()).max().unwrap_or(1);
    let figures = runs.iter().map(|run| {
        let p95 = |answer: &embed_rivals_worker::Answer| percentile(&answer.latencies_ms, 0.95);
        let mut figure = of_server(run, run.answers.iter().map(p95).collect(), version);
        figure.extra.extend(percentiles(run));
        if figure.name == OURS {
            figure.targets = vec![Target::at_most("promised", 1.0)];
        }
        figure
    });
    let promised = Figure::new("promised", Party::Limit, vec![50.0; rounds]);
    let figures = figures.chain([promised]).collect();
    report.suite(suite, Unit::lower("ms"), &[SEQUENTIAL], figures)
}

/// What a second server adds. Both are on this machine: where one keeps all processors busy, it is little.
fn two_servers(bench: &Bench, report: &mut Report, urls: [&str; 2], version: &str) -> Result<()> {
    let mut field = Field::default();
    field.enter(report, TWO, (ONE_SERVER, Party::Ours), bench.own_worker(&["ollama", urls[0]]))?;
    let both = bench.own_worker(&["ollama", urls[0], urls[1]]);
    field.enter(report, TWO, ("embed-ollama, two servers", Party::Ours), both)?;
    let taken = bench.workloads.take(Workload::English, bench.size.texts(32), &bench.run)?;
    let cosines = cosines(bench, report, &mut field, (TWO, &taken), ONE_SERVER)?;
    let order = Order::Batch(Texts { texts: taken.path.clone(), role: taken.role });
    let runs = field.race((bench, report), (TWO, WarmUp::Done), |_| true, &order)?;
    let figures = runs.iter().map(|run| {
        let mut figure = texts_a_second(run, taken.texts, version);
        figure.note = format!("{}, on this machine's {} threads", figure.note, available_threads());
        figure.extra.extend(cosines.get(&figure.name).map(|(least, _)| ("cosine_min", *least)));
        figure
    });
    let figures = figures.collect();
    report.suite(TWO, Unit::higher("texts/s"), &[ONE_SERVER], figures)
}

fn texts_a_second(run: &Run<'_>, texts: usize, version: &str) -> Figure {
    of_server(run, run.seconds().map(|seconds| texts as f64 / seconds).collect(), version)
}

fn of_server(run: &Run<'_>, samples: Vec<f64>, version: &str) -> Figure {
    let mut figure = figure(run, samples);
    figure.note = format!("{}; Ollama {version}", figure.note);
    figure
}
