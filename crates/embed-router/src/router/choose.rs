//! Chooses the route of each text.

use std::sync::Arc;

use embed_core::{EmbedRequest, Result, Space};

use super::routes::Routes;
use crate::detect::{Detection, Detector};
use crate::pins::PinBook;
use crate::rollout::Rollout;
use crate::stats::{Counters, add};

/// The route of a text and why it was chosen.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Decision {
    /// The route.
    pub route: Arc<str>,
    /// Its space; `None` if the route is absent.
    pub space: Option<Space>,
    /// What decided.
    pub by: DecidedBy,
    /// The detected language, if the text was inspected.
    pub detection: Option<Detection>,
}

/// What decided the route of a text, by precedence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecidedBy {
    /// The request named the route.
    Request,
    /// The partition is pinned to it.
    Pin,
    /// A rollout includes the partition, and replaced the policy's route.
    Rollout,
    /// The policy, by the text's kind.
    Policy,
}

/// An internal decision, with the index of the route.
#[derive(Debug, Clone)]
pub(super) struct Choice {
    pub(super) upstream: usize,
    pub(super) by: DecidedBy,
    pub(super) detection: Option<Detection>,
}

/// The decisions about the texts of a request.
#[derive(Debug)]
pub(super) enum Choices {
    /// One for all texts, by the request or a pin, or because there is one text.
    All(Choice),
    /// One for each text.
    Each(Vec<Choice>),
}

/// How many texts are inspected before yielding to other tasks: a millisecond or two.
const AT_A_TIME: usize = 32;

/// Chooses routes.
#[derive(Debug)]
pub(super) struct Chooser {
    pub(super) detector: Arc<dyn Detector>,
    pub(super) pins: PinBook,
    pub(super) rollout: Option<Arc<Rollout>>,
}

impl Chooser {
    /// See [`Router::decide`](super::Router::decide).
    pub(super) fn decide(&self, routes: &Routes, request: &EmbedRequest) -> Result<Vec<Decision>> {
        let decision = |choice: Choice| {
            let upstream = &routes.upstreams[choice.upstream];
            let (route, space) = (Arc::clone(&upstream.name), upstream.space().cloned());
            Decision { route, space, by: choice.by, detection: choice.detection }
        };
        if let Some(choice) = self.choose_for_all(routes, request)? {
            return Ok(request.texts().iter().map(|_| decision(choice.clone())).collect());
        }
        let moved = self.is_moved(request);
        Ok(request.texts().iter().map(|text| decision(self.choose_by_kind(routes, text, moved))).collect())
    }

    pub(super) async fn choose(&self, routes: &Routes, request: &EmbedRequest) -> Result<Choices> {
        if let Some(choice) = self.choose_for_all(routes, request)? {
            return Ok(Choices::All(choice));
        }
        let moved = self.is_moved(request);
        if let [text] = request.texts() {
            return Ok(Choices::All(self.choose_by_kind(routes, text, moved)));
        }
        let mut choices = Vec::with_capacity(request.texts().len());
        for texts in request.texts().chunks(AT_A_TIME) {
            if !choices.is_empty() {
                tokio::task::yield_now().await;
            }
            choices.extend(texts.iter().map(|text| self.choose_by_kind(routes, text, moved)));
        }
        Ok(Choices::Each(choices))
    }

    fn choose_for_all(&self, routes: &Routes, request: &EmbedRequest) -> Result<Option<Choice>> {
        if let Some(name) = request.route() {
            let upstream = routes.taken_over_in_space(routes.find("the request", name)?);
            return Ok(Some(Choice { upstream, by: DecidedBy::Request, detection: None }));
        }
        let Some(name) = request.partition().and_then(|partition| self.pins.route_of(partition)) else {
            return Ok(None);
        };
        let upstream = routes.taken_over_in_space(routes.find("the pin of the partition", &name)?);
        Ok(Some(Choice { upstream, by: DecidedBy::Pin, detection: None }))
    }

    fn choose_by_kind(&self, routes: &Routes, text: &str, moved: bool) -> Choice {
        let detection = self.detector.detect(text);
        let upstream = routes.taken_over(routes.of_policy(&detection));
        match routes.candidate {
            Some(candidate) if moved && upstream == candidate.from => {
                Choice { upstream: candidate.to, by: DecidedBy::Rollout, detection: Some(detection) }
            }
            _ => Choice { upstream, by: DecidedBy::Policy, detection: Some(detection) },
        }
    }

    /// Whether the rollout moves the partition of a request.
    pub(super) fn is_moved(&self, request: &EmbedRequest) -> bool {
        let rollout = self.rollout.as_ref();
        rollout.zip(request.partition()).is_some_and(|(rollout, partition)| rollout.includes(partition))
    }
}

impl Choices {
    /// The decision about one text.
    pub(super) fn at(&self, row: usize) -> &Choice {
        match self {
            Self::All(choice) => choice,
            Self::Each(choices) => &choices[row],
        }
    }

    /// The route of all texts, if it is one.
    pub(super) fn common_upstream(&self) -> Option<usize> {
        match self {
            Self::All(choice) => Some(choice.upstream),
            Self::Each(choices) => {
                let first = choices.first()?.upstream;
                choices.iter().all(|choice| choice.upstream == first).then_some(first)
            }
        }
    }

    /// Adds the decisions to the counts.
    pub(super) fn count(&self, texts: usize, routes: &Routes, counters: &Counters) {
        match self {
            Self::All(choice) => choice.count(texts, routes, counters),
            // Neighbours are mostly sent to one route by one rule, and are counted at once.
            Self::Each(choices) => {
                let runs = choices.chunk_by(Choice::counts_as);
                runs.for_each(|run| run[0].count(run.len(), routes, counters));
            }
        }
    }
}

impl Choice {
    /// Whether the texts of both are counted alike.
    fn counts_as(&self, other: &Self) -> bool {
        self.detection.as_ref().zip(other.detection.as_ref()).is_some_and(|(this, other)| {
            this.kind == other.kind && this.rule == other.rule && this.language == other.language
        })
    }

    fn count(&self, texts: usize, routes: &Routes, counters: &Counters) {
        let upstream = &routes.upstreams[self.upstream];
        let rule = match &self.detection {
            Some(detection) => {
                if self.by == DecidedBy::Rollout {
                    add(&counters.moved, texts);
                }
                if !upstream.reads.covers(detection) {
                    add(&counters.unread, texts);
                }
                &detection.rule
            }
            None if self.by == DecidedBy::Pin => {
                add(&counters.pinned, texts);
                "pinned"
            }
            None => {
                add(&counters.forced, texts);
                "forced"
            }
        };
        upstream.count_rule(rule, texts as u64);
    }
}
