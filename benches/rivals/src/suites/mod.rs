//! The suites, and the field of contenders that most of them run.

pub(crate) mod detect;
pub(crate) mod e5;
pub(crate) mod ollama;
pub(crate) mod redis;
pub(crate) mod start;

use std::process::Command;

use anyhow::Result;
use embed_rivals_worker::{Answer, Order};

use crate::bench::Bench;
use crate::report::{Party, Report};
use crate::worker::Worker;

/// Contenders whose workers run side by side, so that each round can ask all of them in turn.
#[derive(Default)]
struct Field {
    entrants: Vec<Entrant>,
}

struct Entrant {
    name: String,
    party: Party,
    worker: Worker,
    /// Whether it runs in the best setting that it has.
    searched: bool,
}

/// Whether a race begins with a round that doesn't count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WarmUp {
    Needed,
    /// All have had the same texts before, in the same way.
    Done,
}

/// What a contender answered, round by round.
struct Run<'a> {
    entrant: &'a Entrant,
    answers: Vec<Answer>,
}

impl Run<'_> {
    /// Seconds of each round.
    fn seconds(&self) -> impl Iterator<Item = f64> {
        self.answers.iter().filter_map(|answer| answer.seconds)
    }
}

impl Field {
    /// Starts the worker of a contender. One that doesn't start is skipped, aloud.
    fn enter(
        &mut self,
        report: &mut Report,
        suite: &str,
        (name, party): (&str, Party),
        command: Result<Command>,
    ) -> Result<()> {
        match command.and_then(Worker::start) {
            Ok(worker) => {
                self.entrants.push(Entrant { name: name.to_owned(), party, worker, searched: false });
            }
            Err(error) => report.skipped(suite, name, &format!("{error:#}"))?,
        }
        Ok(())
    }

    /// Gives an order to all that `who` picks. Who fails is out, aloud: no later figure of it could be trusted.
    fn each(
        &mut self,
        report: &mut Report,
        suite: &str,
        who: impl Fn(&Entrant) -> bool,
        order: impl Fn(&Entrant) -> Order,
    ) -> Result<Vec<(String, Answer)>> {
        let mut answers = Vec::new();
        let mut out = Vec::new();
        for entrant in self.entrants.iter_mut().filter(|entrant| who(entrant)) {
            let order = order(entrant);
            match entrant.worker.order(&order) {
                Ok(answer) => answers.push((entrant.name.clone(), answer)),
                Err(error) => {
                    report.skipped(suite, &entrant.name, &format!("{error:#}"))?;
                    out.push(entrant.name.clone());
                }
            }
        }
        self.entrants.retain(|entrant| !out.contains(&entrant.name));
        Ok(answers)
    }

    /// One round to warm up, unless these texts are no news, then those that count. In each, everybody has their turn.
    fn race(
        &mut self,
        (bench, report): (&Bench, &mut Report),
        (suite, warm_up): (&str, WarmUp),
        who: impl Fn(&Entrant) -> bool,
        order: &Order,
    ) -> Result<Vec<Run<'_>>> {
        if warm_up == WarmUp::Needed {
            self.each(report, suite, &who, |_| order.clone())?;
        }
        let mut all = Vec::new();
        for _ in bench.rounds() {
            all.extend(self.each(report, suite, &who, |_| order.clone())?);
        }
        let run = |entrant| {
            let own = all.iter().filter(|(name, _)| *name == Entrant::name(entrant));
            Run { entrant, answers: own.map(|(_, answer)| answer.clone()).collect() }
        };
        Ok(self.entrants.iter().filter(|entrant| who(entrant)).map(run).collect())
    }
}

impl Entrant {
    fn name(&self) -> &str {
        &self.name
    }

    /// How it runs, for the report.
    fn setting(&self) -> String {
        let choices = self.worker.choices.len();
        match (choices, self.searched) {
            (0, _) => self.worker.setting.clone(),
            (_, true) => format!("{}: best of {choices} settings", self.worker.setting),
            (_, false) => format!("{}: not searched for", self.worker.setting),
        }
    }
}
