//! The field of contenders that most suites run: each in a process of its own, asked in turns.

use std::process::Command;

use anyhow::{Context, Result};
use embed_rivals_worker::{Answer, Order};

use crate::bench::Bench;
use crate::report::{Party, Report};
use crate::worker::Worker;

/// What all workers together may hold, in MB, and what the whole comparison therefore needs.
pub(crate) const MEMORY_MB: f64 = 12_000.0;
/// Of that, what is kept for a contender that takes more than it ever took.
const RESERVE_MB: f64 = 2000.0;
/// What one is taken to need before it has run.
const UNKNOWN_MB: f64 = 2000.0;

/// Contenders that each round asks in turn. Their workers stay, idle while others run, as long as memory suffices. A worker
/// that has to make room is started anew for its next turn, and warms up before it is measured.
#[derive(Default)]
pub(crate) struct Field {
    pub(crate) entrants: Vec<Entrant>,
    /// The most that all workers held at a time, in MB.
    peak_mb: f64,
}

/// A contender.
pub(crate) struct Entrant {
    pub(crate) name: String,
    pub(crate) party: Party,
    /// What it can be told to choose from.
    pub(crate) choices: Vec<String>,
    /// Whether it runs in the best setting that it has.
    pub(crate) searched: bool,
    /// The most that its process ever held, in MB, where the system tells.
    pub(crate) peak_mb: f64,
    command: Command,
    worker: Option<Worker>,
    choice: Option<String>,
    setting: String,
}

/// Whether a race begins with a round that doesn't count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WarmUp {
    Needed,
    /// All have had the same texts before, in the same way.
    Done,
}

/// What a contender answered, round by round.
pub(crate) struct Run<'a> {
    pub(crate) entrant: &'a Entrant,
    pub(crate) answers: Vec<Answer>,
}

impl Run<'_> {
    /// Seconds of each round.
    pub(crate) fn seconds(&self) -> impl Iterator<Item = f64> {
        self.answers.iter().filter_map(|answer| answer.seconds)
    }
}

impl Field {
    /// Starts the worker of a contender. One that doesn't start is skipped, aloud.
    pub(crate) fn enter(
        &mut self,
        report: &mut Report,
        suite: &str,
        (name, party): (&str, Party),
        command: Result<Command>,
    ) -> Result<()> {
        let entered = command.and_then(|command| {
            self.entrants.push(Entrant {
                name: name.to_owned(),
                party,
                choices: Vec::new(),
                searched: false,
                peak_mb: 0.0,
                command,
                worker: None,
                choice: None,
                setting: String::new(),
            });
            self.with_worker(self.entrants.len() - 1, |_| Ok(()))
        });
        if let Err(error) = entered {
            self.entrants.retain(|entrant| entrant.name != name);
            report.skipped(suite, name, &format!("{error:#}"))?;
        }
        Ok(())
    }

    /// Lets each contender that `who` picks do something. Who fails is out, aloud: no later figure of it could be trusted.
    pub(crate) fn each<T>(
        &mut self,
        (report, suite): (&mut Report, &str),
        who: impl Fn(&Entrant) -> bool,
        mut work: impl FnMut(&mut Entrant) -> Result<T>,
    ) -> Result<Vec<(String, T)>> {
        let mut done = Vec::new();
        let names: Vec<String> =
            self.entrants.iter().filter(|entrant| who(entrant)).map(|entrant| entrant.name.clone()).collect();
        for name in names {
            let Some(at) = self.entrants.iter().position(|entrant| entrant.name == name) else { continue };
            match self.with_worker(at, &mut work) {
                Ok(answer) => done.push((name, answer)),
                Err(error) => {
                    report.skipped(suite, &name, &format!("{error:#}"))?;
                    self.entrants.remove(at);
                }
            }
        }
        Ok(done)
    }

    /// One round to warm up, unless these texts are no news, then those that count. In each, everybody has their turn.
    pub(crate) fn race(
        &mut self,
        (bench, report): (&Bench, &mut Report),
        (suite, warm_up): (&str, WarmUp),
        who: impl Fn(&Entrant) -> bool,
        order: &Order,
    ) -> Result<Vec<Run<'_>>> {
        let mut cold: Vec<String> = match warm_up {
            WarmUp::Needed => self.entrants.iter().map(|entrant| entrant.name.clone()).collect(),
            WarmUp::Done => Vec::new(),
        };
        let mut all = Vec::new();
        for _ in bench.rounds() {
            all.extend(self.each((report, suite), &who, |entrant| {
                if entrant.is_new() || cold.contains(&entrant.name) {
                    entrant.order(order)?;
                    cold.retain(|name| *name != entrant.name);
                }
                let runs = (0..bench.size.runs()).map(|_| bench.undisturbed(|| entrant.order(order)));
                runs.collect::<Result<Vec<Answer>>>()
            })?);
        }
        let run = |entrant| {
            let own = all.iter().filter(|(name, _)| *name == Entrant::name(entrant));
            Run { entrant, answers: own.flat_map(|(_, answers)| answers.clone()).collect() }
        };
        Ok(self.entrants.iter().filter(|entrant| who(entrant)).map(run).collect())
    }

    /// Does something with a contender that runs. Others make room for it if need be, the largest first.
    fn with_worker<T>(&mut self, at: usize, work: impl FnOnce(&mut Entrant) -> Result<T>) -> Result<T> {
        let own = &self.entrants[at];
        let needed = if own.peak_mb > 0.0 { own.peak_mb } else { UNKNOWN_MB };
        while self.others_mb(at) + needed > MEMORY_MB - RESERVE_MB {
            let others = self.entrants.iter_mut().enumerate().filter(|(other, _)| *other != at);
            let largest = others.max_by(|(_, a), (_, b)| a.held_mb().total_cmp(&b.held_mb()));
            let Some((_, largest)) = largest.filter(|(_, largest)| largest.worker.is_some()) else { break };
            largest.worker = None;
        }
        let others = self.others_mb(at);
        let entrant = &mut self.entrants[at];
        entrant.start()?;
        let done = work(entrant)?;
        let peak = entrant.worker.as_ref().and_then(Worker::peak_mb).unwrap_or_default();
        entrant.peak_mb = entrant.peak_mb.max(peak);
        self.peak_mb = self.peak_mb.max(others + peak);
        Ok(done)
    }

    /// What the workers of the others hold.
    fn others_mb(&self, at: usize) -> f64 {
        let others = self.entrants.iter().enumerate().filter(|(other, _)| *other != at);
        others.map(|(_, entrant)| entrant.held_mb()).sum()
    }

    /// The most that all workers held at a time, for the report.
    pub(crate) fn memory(&self) -> String {
        format!("at most {:.1} GB at a time, of {:.0} allowed", self.peak_mb / 1000.0, MEMORY_MB / 1000.0)
    }
}

impl Entrant {
    fn name(&self) -> &str {
        &self.name
    }

    /// How it runs, for the report.
    pub(crate) fn setting(&self) -> String {
        match (self.choices.len(), self.searched) {
            (0, _) => self.setting.clone(),
            (choices, true) => format!("{}: best of {choices} settings", self.setting),
            (_, false) => format!("{}: not searched for", self.setting),
        }
    }

    /// Gives an order to its worker and waits for the answer.
    pub(crate) fn order(&mut self, order: &Order) -> Result<Answer> {
        let answer = self.worker.as_mut().context("the worker isn't running")?.order(order)?;
        if let Some(setting) = &answer.setting {
            self.setting.clone_from(setting);
        }
        Ok(answer)
    }

    /// Lets it take a setting, and keep it. If it has made room for others, it takes the setting when it is started again.
    pub(crate) fn choose(&mut self, choice: &str) -> Result<()> {
        self.choice = Some(choice.to_owned());
        if self.worker.is_none() {
            return Ok(());
        }
        self.order(&Order::Choose { choice: choice.to_owned() }).map(drop)
    }

    /// Starts its worker, unless it runs, in the setting that was chosen.
    fn start(&mut self) -> Result<()> {
        if self.worker.is_some() {
            return Ok(());
        }
        let (worker, ready) = Worker::start(&mut self.command)?;
        self.worker = Some(worker);
        (self.setting, self.choices) = (ready.setting.unwrap_or_default(), ready.choices);
        self.choice.clone().map_or(Ok(()), |choice| self.choose(&choice))
    }

    /// Whether its worker has embedded nothing yet.
    fn is_new(&self) -> bool {
        self.worker.as_ref().is_none_or(|worker| !worker.has_run)
    }

    fn held_mb(&self) -> f64 {
        self.worker.as_ref().and_then(Worker::held_mb).unwrap_or_default()
    }
}
