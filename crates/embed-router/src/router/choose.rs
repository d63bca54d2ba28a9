//! Where each text of a request goes, and why.

use std::collections::BTreeMap;
use std::sync::Arc;

use embed_core::{EmbedRequest, Result, Space};

use super::Router;
use super::build::find;
use crate::Detection;
use crate::policy::KINDS;
use crate::stats::add;

/// Where a text would go, and why. Nothing is embedded for it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Decision {
    /// The route.
    pub route: Arc<str>,
    /// Its space; `None` if the route is absent.
    pub space: Option<Space>,
    /// What decided.
    pub by: DecidedBy,
    /// What was found of the text, if it was looked at.
    pub detection: Option<Detection>,
}

/// What decided where a text goes, from the strongest to the weakest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecidedBy {
    /// The request named the route.
    Request,
    /// The partition is pinned to it.
    Pin,
    /// The partition is in a rollout, which took the text from the policy's route.
    Rollout,
    /// The policy, by the kind of the text.
    Policy,
}

/// A decision inside of the router: the index of a route.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Choice {
    pub(crate) station: usize,
    pub(crate) by: DecidedBy,
    pub(crate) detection: Option<Detection>,
}

/// The decisions about the texts of a request.
#[derive(Debug)]
pub(crate) enum Choices {
    /// One for all, by the request or a pin.
    All(Choice),
    /// One for each.
    Each(Vec<Choice>),
}

/// Texts that are looked at before others get their turn on the thread: a millisecond or two.
const AT_A_TIME: usize = 32;

impl Router {
    /// Where each text of a request would go, and why.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](embed_core::ErrorKind::Config) if the request or a pin names a route that isn't there; it lists those that are.
    pub fn decide(&self, request: &EmbedRequest) -> Result<Vec<Decision>> {
        let decision = |choice: Choice| {
            let station = &self.stations[choice.station];
            let (route, space) = (Arc::clone(&station.name), station.space().cloned());
            Decision { route, space, by: choice.by, detection: choice.detection }
        };
        if let Some(choice) = self.choose_for_all(request)? {
            return Ok(request.texts().iter().map(|_| decision(choice)).collect());
        }
        let moved = self.is_moved(request);
        Ok(request.texts().iter().map(|text| decision(self.choose_by_kind(text, moved))).collect())
    }

    pub(crate) async fn choose(&self, request: &EmbedRequest) -> Result<Choices> {
        if let Some(choice) = self.choose_for_all(request)? {
            return Ok(Choices::All(choice));
        }
        let moved = self.is_moved(request);
        let mut choices = Vec::with_capacity(request.texts().len());
        for texts in request.texts().chunks(AT_A_TIME) {
            if !choices.is_empty() {
                tokio::task::yield_now().await;
            }
            choices.extend(texts.iter().map(|text| self.choose_by_kind(text, moved)));
        }
        Ok(Choices::Each(choices))
    }

    fn choose_for_all(&self, request: &EmbedRequest) -> Result<Option<Choice>> {
        if let Some(name) = request.route() {
            let station = find(&self.stations, "the request", name)?;
            return Ok(Some(Choice { station, by: DecidedBy::Request, detection: None }));
        }
        let Some(name) = request.partition().and_then(|partition| self.pins.route_of(partition)) else {
            return Ok(None);
        };
        let station = find(&self.stations, "the pin of the partition", &name)?;
        Ok(Some(Choice { station, by: DecidedBy::Pin, detection: None }))
    }

    fn choose_by_kind(&self, text: &str, moved: bool) -> Choice {
        let detection = self.detector.detect(text);
        let station = self.taken_over(self.table[detection.kind as usize]);
        match self.candidate {
            Some(candidate) if moved && station == candidate.from => {
                Choice { station: candidate.to, by: DecidedBy::Rollout, detection: Some(detection) }
            }
            _ => Choice { station, by: DecidedBy::Policy, detection: Some(detection) },
        }
    }

    /// The route itself, or who takes over while its service isn't there.
    pub(crate) fn taken_over(&self, station: usize) -> usize {
        let of_policy = &self.stations[station];
        of_policy.stand_in.filter(|_| !of_policy.is_there()).unwrap_or(station)
    }

    /// Whether the rollout moves the partition of a request.
    pub(crate) fn is_moved(&self, request: &EmbedRequest) -> bool {
        let rollout = self.rollout.as_ref();
        rollout.zip(request.partition()).is_some_and(|(rollout, partition)| rollout.includes(partition))
    }

    /// Adds the decisions to the counts.
    pub(crate) fn count(&self, choices: &Choices, texts: usize) {
        match choices {
            Choices::All(choice) => {
                let (counter, rule) = match choice.by {
                    DecidedBy::Pin => (&self.counters.pinned, "pinned"),
                    _ => (&self.counters.forced, "forced"),
                };
                add(counter, texts);
                self.stations[choice.station].count_rule(rule, texts as u64);
            }
            Choices::Each(choices) => {
                let mut rules = BTreeMap::<_, u64>::new();
                let (mut moved, mut unread) = (0, 0);
                for Choice { station, by, detection } in choices {
                    let Some(detection) = detection else {
                        continue;
                    };
                    *rules.entry((*station, detection.rule)).or_default() += 1;
                    moved += usize::from(*by == DecidedBy::Rollout);
                    unread += usize::from(!self.stations[*station].reads.covers(detection));
                }
                for ((station, rule), rows) in rules {
                    self.stations[station].count_rule(rule, rows);
                }
                add(&self.counters.moved, moved);
                add(&self.counters.unread, unread);
            }
        }
    }
}

impl Choices {
    /// The decision about one text.
    pub(crate) fn at(&self, row: usize) -> Choice {
        match self {
            Self::All(choice) => *choice,
            Self::Each(choices) => choices[row],
        }
    }
}

/// The policy with routes in place of names.
pub(crate) type Table = [usize; KINDS.len()];
