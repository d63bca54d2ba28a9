//! A route in service: its guard, its counters and its calls.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use embed_core::{
    BreakerConfig, EmbedRequest, EmbedResponse, Embedder, Error, ErrorKind, Health, ModelInfo, Result, Space,
};
use futures::future::{BoxFuture, Either};

use crate::guard::{Guard, GuardedCall, has, is_of_route, is_refusal, now};
use crate::rollout::{JudgedCall, Rollout};
use crate::route::{Reads, Route, Service};
use crate::stats::{BreakerState, RouteCounters, RouteStats, add};

#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) name: Arc<str>,
    pub(crate) service: Service,
    pub(crate) reads: Reads,
    guard: Guard,
    guards: Guards,
    counters: RouteCounters,
    rules: Mutex<BTreeMap<Cow<'static, str>, u64>>,
    /// Set if this is the old route or the candidate of a rollout.
    pub(crate) side: Option<(RolloutSide, Arc<Rollout>)>,
    /// The route for the policy's texts while the service is unavailable.
    pub(crate) fallback: Option<usize>,
    /// Whether its vectors are of this route's space.
    pub(crate) is_same_space: bool,
}

/// A call of a route, in flight or refused.
pub(crate) struct RouteCall<'u> {
    upstream: &'u Upstream,
    texts: usize,
    began: Option<Instant>,
    call: Result<Either<GuardedCall<'u>, BoxFuture<'u, Result<EmbedResponse>>>>,
}

/// A route whose health check takes longer than this is unavailable. Health checks of deployments wait a few seconds.
const PATIENCE: Duration = Duration::from_secs(2);

/// The side of a rollout that a route is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RolloutSide {
    Current,
    Candidate,
}

/// The place of a route's guard.
#[derive(Debug)]
enum Guards {
    /// Around the whole route.
    Here,
    /// Behind the route's cache.
    Behind,
}

impl Upstream {
    pub(crate) fn new(route: Route, breaker: BreakerConfig) -> Self {
        let Route {
            name,
            service,
            cache,
            reads,
            breaker: of_route,
            timeout,
            guard,
            fallback: _,
            is_same_space,
        } = route;
        let guard = guard.unwrap_or_else(|| Guard::new(of_route.unwrap_or(breaker), timeout));
        let (service, guards) = match cache {
            Some(cache) => (service.cached(&guard, cache), Guards::Behind),
            None => (service, Guards::Here),
        };
        Self {
            name,
            service,
            reads,
            guard,
            guards,
            counters: RouteCounters::default(),
            rules: Mutex::default(),
            side: None,
            fallback: None,
            is_same_space,
        }
    }

    /// The service; an error while it is unavailable.
    fn embedder(&self) -> Result<&Arc<dyn Embedder>> {
        match &self.service {
            Service::Here { embedder } => Ok(embedder),
            Service::Late(late) => late.embedder(),
            Service::Absent(reason) => Err(reason.clone()),
        }
    }

    fn present(&self) -> Option<&Arc<dyn Embedder>> {
        match &self.service {
            Service::Here { embedder } => Some(embedder),
            Service::Late(late) => late.connected(),
            Service::Absent(_) => None,
        }
    }

    /// Whether the service is connected.
    pub(crate) fn is_there(&self) -> bool {
        self.present().is_some()
    }

    /// A handle to the service that works even before it has connected; `None` if it never will.
    pub(crate) fn shared(&self) -> Option<Arc<dyn Embedder>> {
        match &self.service {
            Service::Here { embedder } => Some(Arc::clone(embedder)),
            Service::Late(late) => Some(Arc::new(late.clone())),
            Service::Absent(_) => None,
        }
    }

    /// The model, or its description in advance.
    pub(crate) fn model(&self) -> Option<&ModelInfo> {
        match &self.service {
            Service::Late(late) => Some(late.model()),
            _ => self.present().map(|embedder| embedder.model()),
        }
    }

    /// The space; `None` until the service has connected.
    pub(crate) fn space(&self) -> Option<&Space> {
        self.present().map(|embedder| embedder.model().space())
    }

    /// The health of the service. It also makes the trial of an open guard.
    pub(crate) async fn health(&self) -> Health {
        let said = async {
            let embedder = match &self.service {
                Service::Here { embedder } => embedder,
                Service::Late(late) => match late.find().await {
                    Ok(embedder) => embedder,
                    Err(reason) => return Health::unavailable(reason),
                },
                Service::Absent(reason) => return Health::unavailable(reason.clone()),
            };
            match self.guards {
                Guards::Here => self.guard.health(&Arc::new(Arc::clone(embedder))).await,
                Guards::Behind => embedder.health().await,
            }
        };
        let health = tokio::time::timeout(PATIENCE, said).await.unwrap_or_else(|_| {
            let message = "the health check of the route took too long";
            Health::unavailable(Error::new(ErrorKind::Timeout, message).temporary())
        });
        // An inner guard that made no trial. Once its pause is over, the route counts as available, so that the next call
        // is the trial.
        if health.is_available() && self.is_open() && !self.guard.lets_through() {
            let message = "the route failed too often and isn't called until a trial succeeds";
            return Health::unavailable(Error::new(ErrorKind::Unavailable, message).temporary());
        }
        health
    }

    pub(crate) fn is_open(&self) -> bool {
        self.guard.is_open()
    }

    /// Begins a call of the service, if its guard lets the call through.
    pub(crate) fn ask(&self, request: EmbedRequest) -> RouteCall<'_> {
        let (texts, request) = (request.texts().len(), request.without_route());
        // Only a rollout needs the time of a call.
        let began = self.side.as_ref().map(|_| now());
        let call = self.embedder().and_then(|embedder| match self.guards {
            Guards::Here => {
                let call = self.guard.call(embedder, request).map(Either::Left);
                call.inspect_err(|_| add(&self.counters.refused_calls, 1))
            }
            Guards::Behind => Ok(Either::Right(embedder.embed(request))),
        });
        RouteCall { upstream: self, texts, began, call }
    }

    /// Checks and counts what a call gave.
    fn counted(&self, answer: Result<EmbedResponse>, texts: usize) -> Result<EmbedResponse> {
        let answer = answer.and_then(|response| {
            if response.len() == texts {
                return Ok(response);
            }
            Err(Error::new(ErrorKind::Protocol, "the route didn't return exactly one row per text")
                .with_context("texts", texts)
                .with_context("rows", response.len()))
        });
        // The call, or the part that wasn't cached, was refused.
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

    /// Counts texts that a rule sent here.
    pub(crate) fn count_rule(&self, rule: &str, rows: u64) {
        let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        match rules.get_mut(rule) {
            Some(count) => *count += rows,
            None => drop(rules.insert(rule.to_owned().into(), rows)),
        }
    }

    pub(crate) fn stats(&self) -> RouteStats {
        let breaker = match () {
            _ if !self.is_there() => BreakerState::Absent,
            _ if self.is_open() => BreakerState::Open,
            _ => BreakerState::Closed,
        };
        let rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.counters.read(&self.name, self.space(), breaker, self.guard.openings(), rules)
    }
}

impl RouteCall<'_> {
    /// What it gives. Every row, good or failed, names the route.
    pub(crate) async fn answer(&mut self) -> Result<EmbedResponse> {
        let upstream = self.upstream;
        let answer = match &mut self.call {
            Ok(Either::Left(call)) => upstream.counted(call.answer().await, self.texts),
            Ok(Either::Right(call)) => upstream.counted(call.await, self.texts),
            Err(error) => Err(error.clone()),
        };
        if let (Some((side, rollout)), Some(began)) = (&upstream.side, self.began) {
            let time =
                now().saturating_duration_since(began) / u32::try_from(self.texts).unwrap_or(u32::MAX).max(1);
            let call = JudgedCall { time, failed: has(&answer, is_of_route) };
            match side {
                RolloutSide::Candidate => rollout.judge(call),
                RolloutSide::Current => rollout.current.add(call),
            }
        }
        match answer {
            Ok(response) => Ok(response.with_route(&upstream.name)),
            Err(error) => Err(error.with_context("route", &upstream.name)),
        }
    }
}
