//! A route in service: its guard, its counts, and one call of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use embed_core::{
    BreakerConfig, EmbedRequest, EmbedResponse, Embedder, Error, ErrorKind, ModelInfo, Result, Space,
};

use crate::guard::{Guard, has, is_of_route, is_refusal, now};
use crate::rollout::{Call, Rollout};
use crate::route::{Reads, Route, Service};
use crate::stats::{BreakerState, RouteCounters, RouteStats, add};

#[derive(Debug)]
pub(crate) struct Station {
    pub(crate) name: Arc<str>,
    pub(crate) service: Service,
    pub(crate) reads: Reads,
    guard: Guard,
    guards: Guards,
    counters: RouteCounters,
    rules: Mutex<BTreeMap<&'static str, u64>>,
    /// Set if this is the old route or the candidate of a rollout.
    pub(crate) part: Option<(Part, Arc<Rollout>)>,
    /// The other routes of its space, in the order to ask them.
    pub(crate) same_space: Vec<usize>,
    /// The routes of other spaces.
    pub(crate) other_spaces: Vec<usize>,
}

/// What a route is in a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Current,
    Candidate,
}

/// Where the guard of a route stands.
#[derive(Debug)]
enum Guards {
    /// Around all that the route is made of.
    Here,
    /// Inside of it, behind its cache.
    Behind,
}

impl Station {
    pub(crate) fn new(route: Route, breaker: BreakerConfig) -> Self {
        let Route { name, service, reads, breaker: own, timeout, guard, stand_in: _ } = route;
        let (guard, guards) = match guard {
            Some(guard) => (guard, Guards::Behind),
            None => (Guard::new(own.unwrap_or(breaker), timeout), Guards::Here),
        };
        Self {
            name,
            service,
            reads,
            guard,
            guards,
            counters: RouteCounters::default(),
            rules: Mutex::default(),
            part: None,
            same_space: Vec::new(),
            other_spaces: Vec::new(),
        }
    }

    pub(crate) fn embedder(&self) -> Result<&Arc<dyn Embedder>, &Error> {
        match &self.service {
            Service::Here { embedder, .. } => Ok(embedder),
            Service::Absent(reason) => Err(reason),
        }
    }

    pub(crate) fn model(&self) -> Option<&ModelInfo> {
        self.embedder().ok().map(|embedder| embedder.model())
    }

    pub(crate) fn space(&self) -> Option<&Space> {
        self.model().map(ModelInfo::space)
    }

    pub(crate) fn is_open(&self) -> bool {
        self.guard.is_open()
    }

    /// Asks the service, if its guard lets the call through. Every row, good or failed, names this route.
    pub(crate) async fn ask(&self, request: EmbedRequest) -> Result<EmbedResponse> {
        let texts = request.texts().len();
        let began = now();
        let answer = self.ask_guarded(request).await;
        if let Some((part, rollout)) = &self.part {
            let time =
                now().saturating_duration_since(began) / u32::try_from(texts).unwrap_or(u32::MAX).max(1);
            let call = Call { time, failed: has(&answer, is_of_route) };
            match part {
                Part::Candidate => rollout.judge(call),
                Part::Current => rollout.current.add(call),
            }
        }
        match answer {
            Ok(response) => Ok(response.with_route(&self.name)),
            Err(error) => Err(error.with_context("route", &self.name)),
        }
    }

    async fn ask_guarded(&self, request: EmbedRequest) -> Result<EmbedResponse> {
        let embedder = self.embedder().map_err(Clone::clone)?;
        let texts = request.texts().len();
        let answer = match self.guards {
            Guards::Here => self.guard.call(embedder, request).await,
            Guards::Behind => embedder.embed(request).await,
        };
        let answer = answer.and_then(|response| {
            if response.len() == texts {
                return Ok(response);
            }
            Err(Error::new(ErrorKind::Protocol, "the route gave another number of rows than texts")
                .with_context("texts", texts)
                .with_context("rows", response.len()))
        });
        // The call, or what a cache didn't have of it, wasn't made.
        if has(&answer, is_refusal) {
            add(&self.counters.refused_calls, 1);
            return answer;
        }
        add(&self.counters.calls, 1);
        if has(&answer, is_of_route) {
            add(&self.counters.failed_calls, 1);
        }
        answer
    }

    /// Counts texts that were sent here by a rule.
    pub(crate) fn count_rule(&self, rule: &'static str, rows: u64) {
        let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        *rules.entry(rule).or_default() += rows;
    }

    pub(crate) fn stats(&self) -> RouteStats {
        let breaker = match &self.service {
            Service::Absent(_) => BreakerState::Absent,
            Service::Here { .. } if self.is_open() => BreakerState::Open,
            Service::Here { .. } => BreakerState::Closed,
        };
        let rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.counters.read(&self.name, self.space(), breaker, self.guard.openings(), rules)
    }
}
