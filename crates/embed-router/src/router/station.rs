//! A route in service: its breaker, its counts, and one call of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use embed_core::{
    Breaker, BreakerConfig, EmbedRequest, EmbedResponse, Embedder, Error, ErrorKind, ModelInfo, Pass, Result,
    Retry, Space,
};

use crate::rollout::{Call, Rollout};
use crate::route::{Reads, Route, Service};
use crate::stats::{BreakerState, RouteCounters, RouteStats, add};

#[derive(Debug)]
pub(crate) struct Station {
    pub(crate) name: Arc<str>,
    pub(crate) service: Service,
    pub(crate) reads: Reads,
    timeout: Option<Duration>,
    breaker: Mutex<Breaker>,
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

/// A service answers at the deadline with the rows that it has. It gets so much longer to hand them over.
const GRACE: Duration = Duration::from_millis(50);

/// A call that a caller's deadline ended before this says nothing of the route's health.
const FAIR_CHANCE: Duration = Duration::from_secs(1);

impl Station {
    pub(crate) fn new(route: Route, breaker: BreakerConfig) -> Self {
        let Route { name, service, reads, breaker: own, timeout, stand_in: _ } = route;
        Self {
            name,
            service,
            reads,
            timeout,
            breaker: Mutex::new(Breaker::new(own.unwrap_or(breaker))),
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
        self.breaker().is_open()
    }

    /// Asks the service, if its breaker lets the call through. Every row, good or failed, names this route.
    pub(crate) async fn ask(&self, request: EmbedRequest) -> Result<EmbedResponse> {
        let texts = request.texts().len();
        let began = now();
        let answer = self.ask_in_time(request, began).await;
        if let Some((part, rollout)) = &self.part {
            let time =
                now().saturating_duration_since(began) / u32::try_from(texts).unwrap_or(u32::MAX).max(1);
            let call = Call { time, failed: is_failed(&answer) };
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

    async fn ask_in_time(&self, request: EmbedRequest, began: Instant) -> Result<EmbedResponse> {
        let embedder = self.embedder().map_err(Clone::clone)?;
        let visit = self.visit(began)?;
        add(&self.counters.calls, 1);
        let (texts, deadline) = (request.texts().len(), request.deadline());
        let own = self.timeout.map(|timeout| began + timeout);
        let limit = [own, deadline.map(|deadline| deadline + GRACE)].into_iter().flatten().min();
        let answer = match limit {
            None => embedder.embed(request).await,
            Some(limit) => {
                let answer = tokio::time::timeout_at(limit.into(), embedder.embed(request)).await;
                answer.unwrap_or_else(|_| Err(late(own == Some(limit))))
            }
        };
        let answer = answer.and_then(|response| {
            if response.len() == texts {
                return Ok(response);
            }
            Err(Error::new(ErrorKind::Protocol, "the route gave another number of rows than texts")
                .with_context("texts", texts)
                .with_context("rows", response.len()))
        });
        if is_failed(&answer) {
            add(&self.counters.failed_calls, 1);
        }
        visit.settle(&answer, deadline, began);
        answer
    }

    fn visit(&self, now: Instant) -> Result<Visit<'_>> {
        let mut breaker = self.breaker();
        if let Some(pass) = breaker.pass(now) {
            return Ok(Visit { station: self, pass: Some(pass) });
        }
        let after = breaker.next_trial().map(|trial| trial.saturating_duration_since(now));
        drop(breaker);
        add(&self.counters.refused_calls, 1);
        Err(Error::new(
            ErrorKind::Unavailable,
            "the route failed too often and is left out until it is well again",
        )
        .with_retry(Retry::Temporary { after }))
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
        self.counters.read(&self.name, self.space(), breaker, rules)
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call under way. One that is dropped before its end tells the breaker that it was given up.
struct Visit<'s> {
    station: &'s Station,
    pass: Option<Pass>,
}

impl Visit<'_> {
    fn settle(mut self, answer: &Result<EmbedResponse>, deadline: Option<Instant>, began: Instant) {
        let now = now();
        let hurried = deadline.is_some_and(|deadline| now >= deadline)
            && now.saturating_duration_since(began) < FAIR_CHANCE;
        let fault = match answer {
            Err(error) => Some(error),
            Ok(response) if response.rows().any(|row| row.is_ok()) => None,
            Ok(response) => response.errors().map(|(_, error)| error).find(|error| is_of_route(error)),
        };
        // A service that is busy is well: to leave it out for a second would waste that second.
        let well = fault.is_none_or(|error| {
            !is_of_route(error) || matches!(error.kind(), ErrorKind::Overloaded | ErrorKind::RateLimited)
        });
        if !well && hurried {
            // Dropping the visit gives it up.
            return;
        }
        let Some(pass) = self.pass.take() else {
            return;
        };
        let mut breaker = self.station.breaker();
        if well {
            breaker.succeeded();
        } else if breaker.failed(now, pass) {
            add(&self.station.counters.openings, 1);
        }
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        if let Some(pass) = self.pass.take() {
            self.station.breaker().abandoned(pass);
        }
    }
}

/// Whether an error is the route's fault, so that another route may do better, and not the text's or the caller's.
pub(crate) fn is_of_route(error: &Error) -> bool {
    match error.retry() {
        // An outer retry must not multiply tries that are used up, but another route hasn't tried yet.
        Retry::Temporary { .. } | Retry::Exhausted => true,
        Retry::Permanent => matches!(
            error.kind(),
            ErrorKind::Unavailable | ErrorKind::Unauthorized | ErrorKind::ModelNotFound | ErrorKind::Timeout
        ),
    }
}

fn is_failed(answer: &Result<EmbedResponse>) -> bool {
    match answer {
        Ok(response) => response.errors().any(|(_, error)| is_of_route(error)),
        Err(error) => is_of_route(error),
    }
}

fn late(own: bool) -> Error {
    let message = if own {
        "the route gave no answer within its timeout"
    } else {
        "the deadline was over before the route answered"
    };
    Error::new(ErrorKind::Timeout, message).temporary()
}

/// Tokio's clock, so that tests may run in virtual time.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
